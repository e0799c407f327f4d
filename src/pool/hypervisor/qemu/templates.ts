import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { deadline, hasCode, messageOf } from '../../../base/index.ts';
import type { MachineDisk } from '../../disks/machine-disk.ts';
import type { Accelerator, MachineSpec, StartedMachine } from '../hypervisor.ts';
import { newMachineId } from '../machine-id.ts';
import { prepareClone, startClone, type WaitingMachine } from './cloning.ts';
import type { IdentifiedSpec } from './command-line.ts';
import type { QemuMachineDeps } from './qemu-machine.ts';
import type { StartTurns } from './start-turns.ts';
import { templateKey } from './template-key.ts';
import { bootTemplate, type TemplateBoot } from './template-maker.ts';
import { type Template, TemplateStore } from './template-store.ts';
import { WarmMachines, type WarmMachinesDeps, type WarmRequest } from './warm-machines.ts';

/** How often a template that comes to nothing is tried, in one process of ours. */
const ATTEMPTS = 3;
/** A clone is up in 0.1 s; one that is not by now has a damaged memory, or a host with no time for it. */
const CLONE_LIMIT_MS = 10_000;
/** How long a start waits for the template that another one makes: most guests have booted by then. */
const PATIENCE_MS = 30_000;
/** So many in a row that are not up in time, and it is the memory. */
const LATE_CLONES_LIMIT = 3;

export interface TemplatesDeps extends QemuMachineDeps {
  /** How much of the host's memory machines may take that wait for their VM; without it none does. */
  readonly warmLimitBytes?: (() => number) | undefined;
  readonly turns: StartTurns;
}

/** Makes a machine's id the VM's, that of a new one if none is given, and gives what to start with it. */
type Identify = (id?: string) => Promise<IdentifiedSpec>;

/** Machines that begin where another had booted to. */
export class Templates {
  readonly #deps: TemplatesDeps;
  readonly #store: TemplateStore;
  /** By the key of a template: how often it came to nothing since a machine last began there. */
  readonly #failures = new Map<string, number>();
  /** By the key of a template: how many of its clones in a row were not up in time. */
  readonly #late = new Map<string, number>();
  /** By the key of a template that is being made: resolves when that has come to an end. */
  readonly #making = new Map<string, Promise<void>>();
  readonly #keeping = new Set<Promise<void>>();
  readonly #warm: WarmMachines | undefined;

  constructor(deps: TemplatesDeps, folder: string) {
    this.#deps = deps;
    this.#store = new TemplateStore(deps, folder);
    const { warmLimitBytes: limitBytes } = deps;
    if (limitBytes) {
      const make: WarmMachinesDeps['make'] = (request, signal) => this.#prepareClone(request, signal);
      this.#warm = new WarmMachines({ ...deps, limitBytes, make });
    }
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
    // One that waits has none of this VM's disks.
    const warm = wanted.disks?.length ? undefined : this.#warm;
    using _start = warm?.expect({ key, spec: wanted, accelerator });
    const patience = AbortSignal.any([signal, deadline(this.#deps.clock, PATIENCE_MS)]);
    for (;;) {
      const machine =
        (await this.#handOut(warm?.take(key), identify, signal)) ??
        (await this.#clone(key, identify, accelerator, signal));
      if (machine) return machine;
      // Its clone was late.
      if (await this.#store.find(key)) return undefined;
      const made = this.#making.get(key);
      // Awaited: until then this start is under way.
      if (!made) return await this.#startFirst(key, wanted, identify, accelerator, signal);
      await endOf(made, patience);
      signal.throwIfAborted();
      if (patience.aborted) return undefined;
    }
  }

  async #startFirst(
    key: string,
    wanted: MachineSpec,
    identify: Identify,
    accelerator: Accelerator,
    signal: AbortSignal,
  ): Promise<StartedMachine | undefined> {
    const booted = await this.#make(key, wanted, () => identify(), accelerator, signal);
    if (!booted?.isTaken) return booted?.machine;
    try {
      // Its disks have one writer.
      if (wanted.disks?.length) await booted.ended;
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
    const made = this.#making.get(key);
    if (made) return made;
    let disks: readonly MachineDisk[] = [];
    const identify = async ({ directory }: Template) => {
      disks = wanted.disks?.map((disk, at) => ({ ...disk, path: join(directory, `disk${at}`) })) ?? [];
      await makeEmpty(disks);
      return { ...wanted, name: 'template', id: newMachineId('template', this.#deps.random), disks };
    };
    const booted = await this.#make(key, wanted, identify, accelerator, signal);
    await (booted?.isTaken ? booted.ended : booted?.machine.stop());
    for (const { path } of disks) await rm(path, { force: true });
  }

  /** Removes what was begun by a process that died, and what is of no use any more. */
  collect(): Promise<void> {
    return this.#store.collect();
  }

  /** Ends the machines that wait; resolves when all templates that were made are safe on the disk. */
  async close(): Promise<void> {
    await this.#warm?.close();
    await Promise.all(this.#keeping);
  }

  /** Makes a machine that waits the VM's. `undefined` when there is none, or it did not go on. */
  async #handOut(
    waiting: WaitingMachine | undefined,
    identify: Identify,
    signal: AbortSignal,
  ): Promise<StartedMachine | undefined> {
    if (!waiting) return undefined;
    try {
      const { name } = await identify(waiting.id);
      return await waiting.goOn(name, signal).catch(async (error: unknown) => {
        signal.throwIfAborted();
        this.#deps.log.warn({ vm: name, reason: messageOf(error) }, 'a machine that waited did not go on');
        await waiting.stop();
        return undefined;
      });
    } catch (error) {
      await waiting.stop();
      throw error;
    }
  }

  async #prepareClone(
    { key, spec, accelerator }: WarmRequest,
    signal: AbortSignal,
  ): Promise<WaitingMachine | undefined> {
    const template = await this.#store.find(key);
    if (!template) return undefined;
    const { image, configuration } = spec;
    const id = newMachineId('warm', this.#deps.random);
    return prepareClone(
      this.#deps,
      template,
      { id, name: 'warm', image, configuration },
      accelerator,
      AbortSignal.any([signal, this.#cloneLimit()]),
    );
  }

  async #clone(
    key: string,
    identify: Identify,
    accelerator: Accelerator,
    signal: AbortSignal,
  ): Promise<StartedMachine | undefined> {
    if (!(await this.#store.find(key))) return undefined;
    using _turn = await this.#deps.turns.clone(signal);
    // The one before may have found that it is no good.
    const template = await this.#store.find(key);
    if (!template) return undefined;
    const spec = await identify();
    const limit = this.#cloneLimit();
    try {
      const machine = await startClone(
        this.#deps,
        template,
        spec,
        accelerator,
        AbortSignal.any([signal, limit]),
      );
      this.#late.delete(key);
      this.#failures.delete(key);
      return machine;
    } catch (err) {
      signal.throwIfAborted();
      if (hasCode(err, 'disk_full', 'hypervisor_missing')) throw err;
      const late = limit.aborted ? (this.#late.get(key) ?? 0) + 1 : LATE_CLONES_LIMIT;
      const isUseless = late >= LATE_CLONES_LIMIT;
      const what = isUseless ? 'template discarded, its clone did not come up' : 'a clone was late';
      this.#deps.log.warn({ err, vm: spec.name }, what);
      if (isUseless) await this.#discard(key);
      else this.#late.set(key, late);
      return undefined;
    }
  }

  #cloneLimit(): AbortSignal {
    return deadline(this.#deps.clock, CLONE_LIMIT_MS, `not up within ${CLONE_LIMIT_MS} ms`);
  }

  async #discard(key: string): Promise<void> {
    this.#late.delete(key);
    this.#failures.set(key, (this.#failures.get(key) ?? 0) + 1);
    await this.#store.discard(key);
  }

  /** Boots a machine in a template, unless there can be none. @throws what a start does; of the template nothing is left then. */
  async #make(
    key: string,
    wanted: MachineSpec,
    identify: (template: Template) => Promise<IdentifiedSpec>,
    accelerator: Accelerator,
    signal: AbortSignal,
  ): Promise<TemplateBoot | undefined> {
    const made = Promise.withResolvers<void>();
    this.#making.set(key, made.promise);
    try {
      const template = await this.#begin(key, wanted);
      return template && (await this.#boot(key, template, identify, accelerator, signal));
    } finally {
      this.#making.delete(key);
      made.resolve();
    }
  }

  /** An empty template to boot in; `undefined` when none can be made. */
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

  async #boot(
    key: string,
    template: Template,
    identify: (template: Template) => Promise<IdentifiedSpec>,
    accelerator: Accelerator,
    signal: AbortSignal,
  ): Promise<TemplateBoot> {
    let booted: TemplateBoot | undefined;
    try {
      using _turn = await this.#deps.turns.boot(signal);
      const spec = await identify(template);
      booted = await bootTemplate(this.#deps, template, spec, accelerator, signal);
      if (booted.isTaken) this.#keep(key, template, spec, booted.ended);
      return booted;
    } finally {
      if (!booted?.isTaken) {
        await this.#discard(key);
        if (booted?.isPossible === false) this.#failures.set(key, ATTEMPTS);
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

/** Resolves when it has come to an end, or the signal aborts. */
function endOf(work: Promise<void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      signal.removeEventListener('abort', finish);
      resolve();
    };
    signal.addEventListener('abort', finish, { once: true });
    if (signal.aborted) finish();
    void work.then(finish);
  });
}

/** What a clone's guest sees of its disks, which are as empty as these. */
async function makeEmpty(disks: readonly MachineDisk[]): Promise<void> {
  for (const { path, sizeBytes } of disks) {
    await using handle = await open(path, 'wx', 0o600);
    await handle.truncate(sizeBytes);
  }
}
