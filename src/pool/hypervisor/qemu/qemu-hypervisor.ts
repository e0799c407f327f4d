import { join } from 'node:path';
import type { Clock, Random } from '../../../base/index.ts';
import type { Log } from '../../../platform/telemetry/index.ts';
import type { StoredImage } from '../../images/image-store.ts';
import type { Accelerator, Hypervisor, LeftMachines, MachineSpec, StartedMachine } from '../hypervisor.ts';
import { addressesOf, QemuLauncher } from './qemu-launcher.ts';
import { RUN_FILES, readTail } from './run-files.ts';
import { takeOverMachines } from './takeover.ts';
import { Templates } from './templates.ts';

/** From spawn to an answering monitor; 100 ms on a quiet machine. */
const MONITOR_TIMEOUT_MS = 20_000;

export interface QemuDeps {
  readonly clock: Clock;
  readonly log: Log;
  /** Which accelerator to use for this image's kernel; throws when the image may not run here. */
  readonly chooseAccelerator: (image: StoredImage, signal: AbortSignal) => Promise<Accelerator>;
}

export interface TemplateOptions {
  /** Keeps templates from one process of ours to the next. */
  readonly folder: string;
  /** Of it each clone gets a seed. */
  readonly random: Random;
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

  /** @param templates without them every machine is booted. */
  constructor(deps: QemuDeps, runFolder: string, templates?: TemplateOptions) {
    this.#deps = deps;
    this.#runFolder = runFolder;
    this.#launcher = new QemuLauncher(deps, runFolder);
    if (templates) {
      const { random, folder } = templates;
      this.#templates = new Templates({ ...deps, random, launcher: this.#launcher }, folder);
    }
  }

  async start(spec: MachineSpec, signal: AbortSignal): Promise<StartedMachine> {
    const accelerator = await this.#deps.chooseAccelerator(spec.image, signal);
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

  consoleTail(id: string): Promise<string> {
    return readTail(join(this.#launcher.directoryOf(id), RUN_FILES.console));
  }

  /** Makes the template of such machines now, unless it is there. @throws `machine_failed`, `disk_full` */
  async prepare(spec: MachineSpec, signal: AbortSignal): Promise<void> {
    await this.#templates?.make(spec, await this.#deps.chooseAccelerator(spec.image, signal), signal);
  }

  #boot(spec: MachineSpec, accelerator: Accelerator, signal: AbortSignal): Promise<StartedMachine> {
    const inputs = [spec.image.kernelPath, spec.image.initrdPath];
    const request = { spec, accelerator, memory: 'own', inputs, limitMs: MONITOR_TIMEOUT_MS } as const;
    return this.#launcher.launch(request, signal, async (launched) => {
      const monitor = await this.#launcher.monitorOf(launched);
      try {
        const addresses = await addressesOf(launched, monitor, spec.image.manifest.http.port);
        const { startedAtMs } = launched;
        return { ...this.#launcher.machineOf(launched, accelerator, addresses), startedAtMs };
      } finally {
        monitor.close();
      }
    });
  }
}

/** On arm64 QEMU puts the kernel into memory in another way; nobody has tried there. */
const isCloneable = ({ image }: MachineSpec): boolean => image.manifest.architecture === 'x86_64';
