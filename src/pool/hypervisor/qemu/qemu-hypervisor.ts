import { join } from 'node:path';
import { hasCode, messageOf, type Random } from '../../../base/index.ts';
import { areUntouched } from '../../disks/machine-disk.ts';
import type { StoredImage } from '../../images/image-store.ts';
import { machineCost } from '../../machine-cost.ts';
import { probeHttp, untilReady } from '../../readiness.ts';
import type { Configuration } from '../../schema.ts';
import type {
  Accelerator,
  Claim,
  Hypervisor,
  LeftMachines,
  MachineOrigin,
  MachineSpec,
  StartedMachine,
} from '../hypervisor.ts';
import { newMachineId } from '../machine-id.ts';
import type { IdentifiedSpec } from './command-line.ts';
import { type SaverDeps, stateLimitMs } from './machine-saver.ts';
import { receiveState } from './migration.ts';
import { addressesOf, type Launched, type LaunchRequest, QemuLauncher } from './qemu-launcher.ts';
import { qemuMachine } from './qemu-machine.ts';
import type { QmpClient } from './qmp.ts';
import { RUN_FILES, readTail } from './run-files.ts';
import { openState, unusable } from './saved-state.ts';
import { StartTurns } from './start-turns.ts';
import { takeOverMachines } from './takeover.ts';
import { templateKey } from './template-key.ts';
import { Templates } from './templates.ts';

/** From spawn to an answering monitor; 100 ms on a quiet machine. */
const MONITOR_TIMEOUT_MS = 20_000;

export interface QemuDeps extends SaverDeps {
  /** Of it each machine gets its id, and each clone a seed. */
  readonly random: Random;
  /** Which accelerator to use for this image's kernel; throws when the image may not run here. */
  readonly chooseAccelerator: (image: StoredImage, signal: AbortSignal) => Promise<Accelerator>;
  /** How much of the host's memory machines may take that wait for their VM, at this moment; without it none does. */
  readonly warmLimitBytes?: () => number;
}

/**
 * Machines as QEMU processes of their own, each in a run directory below one folder, and confined where that can be. The
 * first of its kind is booted, and what it had booted to is kept as a template; the machines begin where that is.
 */
export class QemuHypervisor implements Hypervisor {
  readonly #deps: QemuDeps;
  readonly #runFolder: string;
  readonly #launcher: QemuLauncher;
  readonly #turns: StartTurns;
  readonly #templates: Templates | undefined;
  /** As it was chosen last; before the first start the one with which a machine takes more. */
  #accelerator: Accelerator = 'tcg';

  /** @param templateFolder keeps templates from one process of ours to the next; without it every machine is booted. */
  constructor(deps: QemuDeps, runFolder: string, templateFolder?: string) {
    this.#deps = deps;
    this.#runFolder = runFolder;
    this.#launcher = new QemuLauncher(deps, runFolder);
    this.#turns = new StartTurns(deps.clock);
    if (templateFolder !== undefined) {
      const ours = { launcher: this.#launcher, turns: this.#turns };
      this.#templates = new Templates({ ...deps, ...ours }, templateFolder);
    }
  }

  async start(wanted: MachineSpec, signal: AbortSignal, claim: Claim): Promise<StartedMachine> {
    const accelerator = await this.#deps.chooseAccelerator(wanted.image, signal);
    this.#accelerator = accelerator;
    const identify = async (id = newMachineId(wanted.name, this.#deps.random)): Promise<IdentifiedSpec> => {
      await claim(id);
      return { ...wanted, id };
    };
    if (wanted.saved !== undefined) {
      using _turn = await this.#turns.clone(signal);
      return await this.#restore(await identify(), wanted.saved, accelerator, signal);
    }
    const templates = (await isCloneable(wanted)) ? this.#templates : undefined;
    const machine = await templates?.start(wanted, identify, accelerator, signal);
    return machine ?? this.#boot(wanted, identify, accelerator, signal);
  }

  async close(): Promise<void> {
    await this.#templates?.close();
    this.#launcher.close();
  }

  async takeOver(): Promise<LeftMachines> {
    const left = await takeOverMachines({ ...this.#deps, launcher: this.#launcher }, this.#runFolder);
    await this.#templates?.collect();
    return left;
  }

  costOf(configuration: Configuration): number {
    return machineCost(configuration, this.#accelerator);
  }

  consoleTail(id: string): Promise<string> {
    return readTail(join(this.#launcher.directoryOf(id), RUN_FILES.console));
  }

  /** Makes the template of such machines now, where there can be one. @throws `machine_failed`, `disk_full` */
  async prepare(spec: MachineSpec, signal: AbortSignal): Promise<void> {
    if (!(await isCloneable(spec))) return;
    await this.#templates?.prepare(spec, await this.#deps.chooseAccelerator(spec.image, signal), signal);
  }

  async #boot(
    { image }: MachineSpec,
    identify: () => Promise<IdentifiedSpec>,
    accelerator: Accelerator,
    signal: AbortSignal,
  ): Promise<StartedMachine> {
    using turn = await this.#turns.boot(signal);
    const spec = await identify();
    const request = { spec, accelerator, memory: 'own', limitMs: MONITOR_TIMEOUT_MS } as const;
    const machine = await this.#launch(request, 'boot', signal);
    const ended = new AbortController();
    void machine.exited.then(() => ended.abort());
    const either = AbortSignal.any([signal, ended.signal, turn.over]);
    const { readyPath } = image.manifest.http;
    await untilReady(this.#deps.clock, probeHttp, machine.addresses[0], readyPath, either).catch(
      () => undefined,
    );
    return machine;
  }

  /** The machine goes on from where it was saved. */
  async #restore(
    spec: IdentifiedSpec,
    folder: string,
    accelerator: Accelerator,
    signal: AbortSignal,
  ): Promise<StartedMachine> {
    const { clock } = this.#deps;
    const { configuration, disks = [] } = spec;
    const key = await templateKey(spec, accelerator, await this.#launcher.reach());
    const state = await openState(this.#deps, folder, key, disks);
    const limitMs = MONITOR_TIMEOUT_MS + stateLimitMs(configuration);
    try {
      return await this.#launch(
        { spec, accelerator, memory: 'saved', limitMs },
        'saved',
        signal,
        (launched, monitor) => receiveState(clock, monitor, launched, state, launched.waiting),
      );
    } catch (error) {
      signal.throwIfAborted();
      if (hasCode(error, 'disk_full', 'disk_in_use', 'hypervisor_missing')) throw error;
      throw unusable(folder, messageOf(error), error);
    }
  }

  /** @param bringUp what is to be done before the guest runs. */
  #launch(
    request: Omit<LaunchRequest, 'inputs'>,
    origin: MachineOrigin,
    signal: AbortSignal,
    bringUp: (launched: Launched, monitor: QmpClient) => Promise<void> = async () => undefined,
  ): Promise<StartedMachine> {
    const { image } = request.spec;
    const inputs = [image.kernelPath, image.initrdPath];
    return this.#launcher.launch({ ...request, inputs }, signal, async (launched) => {
      const monitor = await this.#launcher.monitorOf(launched);
      try {
        await bringUp(launched, monitor);
        const addresses = await addressesOf(launched, monitor, image.manifest.http.port);
        const { startedAtMs } = launched;
        return {
          ...qemuMachine({ ...this.#deps, launcher: this.#launcher }, launched, addresses),
          startedAtMs,
          origin,
        };
      } finally {
        monitor.close();
      }
    });
  }
}

/**
 * On arm64 QEMU puts the kernel into memory in another way; nobody has tried there. And what a template's guest has read of
 * its disks, which are empty, would be wrong on others.
 */
const isCloneable = async ({ image, disks = [] }: MachineSpec): Promise<boolean> =>
  image.manifest.architecture === 'x86_64' && (await areUntouched(disks));
