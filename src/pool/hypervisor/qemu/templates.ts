import { join } from 'node:path';
import { hasCode, messageOf } from '../../../base/index.ts';
import type { Accelerator, MachineSpec, StartedMachine } from '../hypervisor.ts';
import { newMachineId } from '../machine-id.ts';
import { type IdentifiedSpec, INPUT } from './command-line.ts';
import { GuestAgent, resumeMessage } from './guest-agent.ts';
import { addressesOf } from './qemu-launcher.ts';
import { type QemuMachineDeps, qemuMachine } from './qemu-machine.ts';
import { INPUT_DESCRIPTOR } from './qemu-process.ts';
import { RUN_FILES } from './run-files.ts';
import { templateKey } from './template-key.ts';
import { bootTemplate, SHARED_MEMORY_STAYS, type TemplateBoot } from './template-maker.ts';
import { type Template, TemplateStore } from './template-store.ts';

/** A clone is up in 0.1 s; one that is not by now has a damaged memory, or a host with no time for it. */
const CLONE_LIMIT_MS = 10_000;
/** How often a template that comes to nothing is tried, in one process of ours. */
const ATTEMPTS = 3;

export type TemplatesDeps = QemuMachineDeps;

/** Makes a machine's id the VM's, and gives what to start with it. */
type Identify = () => Promise<IdentifiedSpec>;

/** Machines that begin where another had booted to. */
export class Templates {
  readonly #deps: TemplatesDeps;
  readonly #store: TemplateStore;
  /** By the key of a template: how often it came to nothing. */
  readonly #failures = new Map<string, number>();
  readonly #keeping = new Set<Promise<void>>();

  constructor(deps: TemplatesDeps, folder: string) {
    this.#deps = deps;
    this.#store = new TemplateStore(deps, folder);
  }

  /**
   * A machine from its template, which is made of the first machine of its kind. `undefined` when there is none, or none that
   * is any good, and the machine has to be booted like any other.
   */
  async start(
    wanted: MachineSpec,
    identify: Identify,
    accelerator: Accelerator,
    signal: AbortSignal,
  ): Promise<StartedMachine | undefined> {
    const key = await templateKey(wanted, accelerator, await this.#deps.launcher.reach());
    const clone = await this.#clone(key, identify, accelerator, signal);
    if (clone) return clone;
    const template = await this.#begin(key, wanted);
    if (!template) return undefined;
    const booted = await this.#boot(key, template, identify, accelerator, signal);
    if (!booted.isTaken) return booted.machine;
    // Its disks have one writer.
    if (wanted.disks?.length) await booted.ended;
    try {
      // It goes on as a clone of itself: its memory was the template's, whose file it would write to for as long as it lives.
      const machine = await this.#clone(key, identify, accelerator, signal);
      return machine && { ...machine, startedAtMs: booted.startedAtMs, origin: 'boot' };
    } finally {
      await booted.ended;
    }
  }

  /** Makes the template, unless it is there or cannot be made. @throws `machine_failed`, `disk_full` */
  async prepare(wanted: MachineSpec, accelerator: Accelerator, signal: AbortSignal): Promise<void> {
    const key = await templateKey(wanted, accelerator, await this.#deps.launcher.reach());
    if (await this.#store.find(key)) return;
    const template = await this.#begin(key, wanted);
    if (!template) return;
    const spec = { ...wanted, id: newMachineId('template', this.#deps.random) };
    const booted = await this.#boot(key, template, async () => spec, accelerator, signal);
    await (booted.isTaken ? booted.ended : booted.machine.stop());
  }

  /** Removes what was begun by a process that died, and what is of no use any more. */
  collect(): Promise<void> {
    return this.#store.collect();
  }

  /** Resolves when all that was made is safe on the disk. */
  async close(): Promise<void> {
    await Promise.all(this.#keeping);
  }

  async #clone(
    key: string,
    identify: Identify,
    accelerator: Accelerator,
    signal: AbortSignal,
  ): Promise<StartedMachine | undefined> {
    const template = await this.#store.find(key);
    if (!template) return undefined;
    const spec = await identify();
    try {
      return await this.#resume(template, spec, accelerator, signal);
    } catch (err) {
      signal.throwIfAborted();
      if (hasCode(err, 'disk_full', 'hypervisor_missing')) throw err;
      this.#deps.log.warn({ err, vm: spec.name }, 'template discarded, its clone did not come up');
      await this.#store.discard(key);
      return undefined;
    }
  }

  async #resume(
    template: Template,
    spec: IdentifiedSpec,
    accelerator: Accelerator,
    signal: AbortSignal,
  ): Promise<StartedMachine> {
    const { clock, launcher, random } = this.#deps;
    const inputs = [template.kernel, spec.image.initrdPath, template.memory, template.state];
    const request = { spec, accelerator, memory: 'clone', inputs, limitMs: CLONE_LIMIT_MS } as const;
    return launcher.launch(request, signal, async (launched) => {
      const { directory, waiting } = launched;
      const monitor = await launcher.monitorOf(launched);
      try {
        // Before the guest runs: what it was reading from must be open when it goes on.
        const agent = await GuestAgent.connect(clock, join(directory, RUN_FILES.agent), waiting);
        agent.tell(resumeMessage(spec.name, clock.nowMs(), random));
        await monitor.execute('migrate-set-capabilities', SHARED_MEMORY_STAYS);
        await monitor.execute('migrate-incoming', { uri: `fd:${INPUT_DESCRIPTOR + INPUT.state}` });
        await agent.hear('resumed', waiting);
        agent.close();
        const addresses = await addressesOf(launched, monitor, spec.image.manifest.http.port);
        const { startedAtMs } = launched;
        return { ...qemuMachine(this.#deps, launched, addresses), startedAtMs, origin: 'clone' };
      } finally {
        monitor.close();
      }
    });
  }

  /** An empty template to boot in; `undefined` when none can be made, or another start is making it. */
  async #begin(key: string, { image, configuration }: MachineSpec): Promise<Template | undefined> {
    if ((this.#failures.get(key) ?? 0) >= ATTEMPTS) return undefined;
    const memoryBytes = Math.ceil(configuration.memoryBytes / 2 ** 20) * 2 ** 20;
    try {
      return await this.#store.begin(key, memoryBytes);
    } catch (error) {
      this.#deps.log.warn({ image: image.digest, reason: messageOf(error) }, 'no room for a template');
      return undefined;
    }
  }

  /** @throws what a start does; of the template nothing is left then. */
  async #boot(
    key: string,
    template: Template,
    identify: Identify,
    accelerator: Accelerator,
    signal: AbortSignal,
  ): Promise<TemplateBoot> {
    let booted: TemplateBoot | undefined;
    try {
      const spec = await identify();
      booted = await bootTemplate(this.#deps, template, spec, accelerator, signal);
      if (booted.isTaken) this.#keep(key, template, spec, booted.ended);
      return booted;
    } finally {
      if (!booted?.isTaken) {
        const isPossible = booted?.isPossible ?? true;
        this.#failures.set(key, isPossible ? (this.#failures.get(key) ?? 0) + 1 : ATTEMPTS);
        await this.#store.discard(key);
      }
    }
  }

  /** The template may be used at once; that it is written through to the disk nobody waits for. */
  #keep(key: string, template: Template, { image }: IdentifiedSpec, ended: Promise<void>): void {
    const keeping = this.#store
      .keep(key, template, image.kernelPath, ended)
      .catch((error: unknown) =>
        this.#deps.log.warn({ image: image.digest, reason: messageOf(error) }, 'template not kept'),
      )
      .finally(() => this.#keeping.delete(keeping));
    this.#keeping.add(keeping);
  }
}
