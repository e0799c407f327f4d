import { join } from 'node:path';
import type { Clock, Random } from '../../../base/index.ts';
import type { Log } from '../../../platform/telemetry/index.ts';
import type { StoredImage } from '../../images/image-store.ts';
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
 * first of its kind is booted, and what it had booted to is kept as a template; the machines begin where that is.
 */
export class QemuHypervisor implements Hypervisor {
  readonly #deps: QemuDeps;
  readonly #runFolder: string;
  readonly #launcher: QemuLauncher;
  readonly #templates: Templates | undefined;

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
    const identify = async (): Promise<IdentifiedSpec> => {
      const id = newMachineId(wanted.name, this.#deps.random);
      await claim(id);
      return { ...wanted, id };
    };
    const machine =
      isCloneable(wanted) && (await this.#templates?.start(wanted, identify, accelerator, signal));
    return machine || this.#boot(await identify(), accelerator, signal);
  }

  /** Ends what is being kept for later starts; machines that were handed out go on. */
  async close(): Promise<void> {
    await this.#templates?.close();
  }

  takeOver(): Promise<LeftMachines> {
    return takeOverMachines({ ...this.#deps, launcher: this.#launcher }, this.#runFolder);
  }

  consoleTail(id: string): Promise<string> {
    return readTail(join(this.#launcher.directoryOf(id), RUN_FILES.console));
  }

  /** Makes the template of such machines now, where there can be one. @throws `machine_failed`, `disk_full` */
  async prepare(spec: MachineSpec, signal: AbortSignal): Promise<void> {
    if (!isCloneable(spec)) return;
    await this.#templates?.prepare(spec, await this.#deps.chooseAccelerator(spec.image, signal), signal);
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
