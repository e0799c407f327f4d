import { join } from 'node:path';
import type { Clock, Random } from '../../../base/index.ts';
import type { Log } from '../../../platform/telemetry/index.ts';
import type { StoredImage } from '../../images/image-store.ts';
import { machineCost } from '../../machine-cost.ts';
import type { Configuration } from '../../schema.ts';
import type {
  Accelerator,
  Claim,
  Hypervisor,
  LeftMachines,
  MachineSpec,
  StartedMachine,
} from '../hypervisor.ts';
import { newMachineId } from '../machine-id.ts';
import type { IdentifiedSpec } from './command-line.ts';
import { addressesOf, QemuLauncher } from './qemu-launcher.ts';
import { RUN_FILES, readTail } from './run-files.ts';
import { takeOverMachines } from './takeover.ts';
import { Templates } from './templates.ts';

/** From spawn to an answering monitor; 100 ms on a quiet machine. */
const MONITOR_TIMEOUT_MS = 20_000;

export interface QemuDeps {
  readonly clock: Clock;
  readonly log: Log;
  /** Of it each machine gets its id, and each clone a seed. */
  readonly random: Random;
  /** Which accelerator to use for this image's kernel. */
  readonly chooseAccelerator: (image: StoredImage, signal: AbortSignal) => Promise<Accelerator>;
}

/**
 * Machines as QEMU processes of their own, each in a run directory below one folder, and confined where that can be. The
 * first of its kind is booted; then a template is made beside it, and the next ones begin where that had booted to.
 */
export class QemuHypervisor implements Hypervisor {
  readonly #deps: QemuDeps;
  readonly #runFolder: string;
  readonly #launcher: QemuLauncher;
  readonly #templates: Templates | undefined;
  /** As it was chosen last; before the first start the one with which a machine takes more. */
  #accelerator: Accelerator = 'tcg';

  /** @param templateFolder keeps templates from one process of ours to the next; without it every machine is booted. */
  constructor(deps: QemuDeps, runFolder: string, templateFolder?: string) {
    this.#deps = deps;
    this.#runFolder = runFolder;
    this.#launcher = new QemuLauncher(deps, runFolder);
    if (templateFolder !== undefined) {
      this.#templates = new Templates({ ...deps, launcher: this.#launcher }, templateFolder);
    }
  }

  async start(wanted: MachineSpec, signal: AbortSignal, claim: Claim): Promise<StartedMachine> {
    const accelerator = await this.#deps.chooseAccelerator(wanted.image, signal);
    this.#accelerator = accelerator;
    const spec = { ...wanted, id: newMachineId(wanted.name, this.#deps.random) };
    await claim(spec.id);
    const templates = isCloneable(spec) ? this.#templates : undefined;
    const clone = await templates?.clone(spec, accelerator, signal);
    if (clone) return clone;
    const machine = await this.#boot(spec, accelerator, signal);
    if (!templates) return machine;
    const making = templates.makeLike(machine, spec);
    const stop = async () => {
      await machine.stop();
      // It ends with the machine, and its own machine must not outlive us.
      await making;
    };
    return { ...machine, stop };
  }

  takeOver(): Promise<LeftMachines> {
    return takeOverMachines({ ...this.#deps, launcher: this.#launcher }, this.#runFolder);
  }

  costOf(configuration: Configuration): number {
    return machineCost(configuration, this.#accelerator);
  }

  consoleTail(id: string): Promise<string> {
    return readTail(join(this.#launcher.directoryOf(id), RUN_FILES.console));
  }

  /** Makes the template of such machines now, unless it is there. @throws `machine_failed`, `disk_full` */
  async prepare(spec: MachineSpec, signal: AbortSignal): Promise<void> {
    await this.#templates?.make(spec, await this.#deps.chooseAccelerator(spec.image, signal), signal);
  }

  #boot(spec: IdentifiedSpec, accelerator: Accelerator, signal: AbortSignal): Promise<StartedMachine> {
    const inputs = [spec.image.kernelPath, spec.image.initrdPath];
    const request = { spec, accelerator, memory: 'own', inputs, limitMs: MONITOR_TIMEOUT_MS } as const;
    return this.#launcher.launch(request, signal, async (launched) => {
      const monitor = await this.#launcher.monitorOf(launched);
      try {
        const addresses = await addressesOf(launched, monitor, spec.image.manifest.http.port);
        const { startedAtMs } = launched;
        return { ...this.#launcher.machineOf(launched, accelerator, addresses), startedAtMs, origin: 'boot' };
      } finally {
        monitor.close();
      }
    });
  }
}

/** On arm64 QEMU puts the kernel into memory in another way; nobody has tried there. */
const isCloneable = ({ image }: MachineSpec): boolean => image.manifest.architecture === 'x86_64';
