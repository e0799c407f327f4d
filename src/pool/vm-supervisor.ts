import { type Clock, type CodedError, hasCode, messageOf } from '../base/index.ts';
import type { Log } from '../platform/telemetry/index.ts';
import { AnswerLimit } from './answer-limit.ts';
import type { StartedPlace } from './applications/application-installer.ts';
import type { HeldGuest } from './applications/applications.ts';
import { checkMemory } from './capacity.ts';
import type { MachineDisk } from './disks/machine-disk.ts';
import { poolError } from './errors.ts';
import type { Hypervisor, Machine, MachineSpec, StartedMachine } from './hypervisor/hypervisor.ts';
import type { StoredImage } from './images/image-store.ts';
import { type HttpProbe, untilReady, untilUnresponsive } from './readiness.ts';
import type { SavedMachines } from './saved-machines.ts';
import type { Configuration, Vm } from './schema.ts';
import { initialState, suspendedState, transition, type VmEvent, type VmState } from './vm-state.ts';

/** What is wanted of one version of a VM. */
export interface VmSpec {
  readonly name: string;
  readonly owner: string;
  /** Which of the VM's versions this is. */
  readonly version: number;
  readonly imageRef: string;
  /** Known from the request, or recorded when the image was first fetched. */
  readonly imageDigest?: string | undefined;
  readonly configuration: Configuration;
  /** What the owner keeps with its VM. The pool does not read it. */
  readonly ownerNote: string;
  readonly createdAtMs: number;
}

export interface SupervisorDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly hypervisor: Hypervisor;
  readonly probe: HttpProbe;
  /** Brings the image of `spec`, from here or from where it is. */
  readonly fetchImage: (spec: VmSpec, signal: AbortSignal) => Promise<StoredImage>;
  /** The VM's disks as this version sees them, ready for its machine. */
  readonly prepareDisks: (
    spec: VmSpec,
    image: StoredImage,
    signal: AbortSignal,
  ) => Promise<readonly MachineDisk[]>;
  /** Keeps which machine is the version's from now on; called before it is the version's. */
  readonly recordMachine: (spec: VmSpec, machineId: string) => Promise<void>;
  /** Resolves when the VM's disks are there for this version: no other machine has them. */
  readonly alone: () => Promise<void>;
  /** Where it is kept while it is suspended. */
  readonly saved: Pick<SavedMachines, 'folderOf' | 'find' | 'forget'>;
  /** Puts into a guest that answers what is wanted there beside its image. */
  readonly furnish: (spec: VmSpec, place: StartedPlace, signal: AbortSignal) => Promise<void>;
  /** Called after every change of phase. */
  readonly onChange: (supervisor: VmSupervisor, previous: VmState['phase']) => void;
}

/** Failures that another attempt cannot mend. */
const FINAL_CODES = [
  'image_address_refused',
  'image_not_found',
  'image_digest_mismatch',
  'image_invalid',
  'image_outside_root',
  'image_withdrawn',
  'configuration_too_small',
  'untrusted_on_tcg',
  'application_not_found',
  'applications_unsupported',
];

/** Of a start that has not come as far as the machine itself. */
const UNTRIED_CODES = ['disk_full', 'disk_in_use', 'hypervisor_missing'];

const LEAST_ANSWER_LIMIT_MS = 10_000;
/** How long the guest of a machine that was left running may take to show that it lives. */
const LIFE_SIGN_LIMIT_MS = 5000;
/** One that does not end by itself in this time is ended. */
const SHUT_DOWN_LIMIT_MS = 10_000;

/** How a machine was found when this process began: it goes on, or it has none and is not to have one yet. */
export type FoundMachine = Machine | 'suspended';

interface Suspension {
  /** Resolves when nobody uses the VM any more. */
  readonly quiet: () => Promise<void>;
  readonly done: PromiseWithResolvers<void>;
}

/** Keeps one VM as it is wanted: fetches, starts, watches, and starts again what died. */
export class VmSupervisor {
  readonly #deps: SupervisorDeps;
  readonly #readyTimeoutMs: number;
  readonly #stop = new AbortController();
  #spec: VmSpec;
  #state: VmState;
  #machineId: string | undefined;
  #restarts = 0;
  #lastStart: Vm['lastStart'];
  #lastBootMs: number | undefined;
  #running: Promise<void> | undefined;
  #left: Machine | undefined;
  /** What the machine that serves was made from. */
  #image: StoredImage | undefined;
  /** How many are just changing what serves in the guest. */
  #holders = 0;
  readonly #adoption = Promise.withResolvers<void>();
  /** Resolved by whoever wants it suspended, while it serves. */
  #suspension: PromiseWithResolvers<Suspension> | undefined;
  #resumption = Promise.withResolvers<void>();

  /** @param found what an earlier process of ours left for the same: this one's now. */
  constructor(deps: SupervisorDeps, spec: VmSpec, readyTimeoutMs: number, found?: FoundMachine) {
    this.#deps = deps;
    this.#spec = spec;
    this.#readyTimeoutMs = readyTimeoutMs;
    const nowMs = deps.clock.nowMs();
    this.#state = found === 'suspended' ? suspendedState(nowMs) : initialState(nowMs);
    this.#left = found === 'suspended' ? undefined : found;
    if (!this.#left) this.#adoption.resolve();
  }

  /** Resolves when the machine that was left running serves again, or turned out not to. */
  get adoption(): Promise<void> {
    return this.#adoption.promise;
  }

  get spec(): VmSpec {
    return this.#spec;
  }

  get state(): VmState {
    return this.#state;
  }

  /** The machine that runs for it now or ran last, for its console. */
  get machineId(): string | undefined {
    return this.#machineId;
  }

  /** The guest, when it serves, for whoever changes it: until it is let go, that it does not answer is no sign of its death. */
  hold(): HeldGuest | undefined {
    if (this.state.phase !== 'ready' || !this.#image) return undefined;
    const { machine } = this.state;
    this.#holders += 1;
    const letGo = () => {
      this.#holders -= 1;
    };
    return { machine, manifest: this.#image.manifest, [Symbol.dispose]: letGo };
  }

  describe(): Vm {
    const { state } = this;
    return {
      ...this.#spec,
      phase: state.phase,
      sinceMs: state.sinceMs,
      restarts: this.#restarts,
      ...('reason' in state && { reason: state.reason }),
      ...(state.phase === 'ready' && {
        addresses: [...state.machine.addresses],
        pid: state.machine.pid,
        accelerator: state.machine.accelerator,
      }),
      ...(this.#lastStart && { lastStart: this.#lastStart }),
    };
  }

  set ownerNote(note: string) {
    this.#spec = { ...this.#spec, ownerNote: note };
  }

  /** Begins to work, or begins again after it gave up. Does nothing while it works. */
  start(): void {
    if (this.#running || this.#stop.signal.aborted) return;
    if (this.#state.phase !== 'suspended') this.#state = initialState(this.#deps.clock.nowMs());
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  /**
   * Brings the guest to rest, keeps it on the disk and ends its machine; resolves when that is so.
   *
   * @param quiet resolves when nobody uses the VM any more; it is told by then that none is to come.
   * @throws `vm_not_ready`, or why it could not be suspended: then it serves on.
   */
  async suspend(quiet: () => Promise<void>): Promise<void> {
    const { phase } = this.state;
    if (phase !== 'ready' || !this.#suspension) throw notReady(this.#spec.name, phase);
    if (this.#holders > 0) throw poolError('vm_conflict', `the VM ${this.#spec.name} is just being changed`);
    const done = Promise.withResolvers<void>();
    this.#suspension.resolve({ quiet, done });
    this.#suspension = undefined;
    await done.promise;
  }

  /** Writes what the machine is into a folder, with its disks; it pauses meanwhile. @throws `vm_not_ready` */
  async snapshot(folder: string): Promise<void> {
    const { state } = this;
    if (state.phase !== 'ready') throw notReady(this.#spec.name, state.phase);
    await state.machine.snapshot(folder, this.#stop.signal);
  }

  /** Goes on where it was suspended. */
  resume(): void {
    if (this.state.phase !== 'suspended') return;
    this.#apply({ kind: 'resumed' });
    this.#resumption.resolve();
  }

  /** Ends the VM and its machine; resolves when both are gone. */
  async stop(): Promise<void> {
    this.#apply({ kind: 'stopped' });
    this.#stop.abort(new Error('the VM is being stopped'));
    await this.#running;
    await this.#left?.stop();
  }

  async #run(): Promise<void> {
    const { clock } = this.#deps;
    const { signal } = this.#stop;
    while (!signal.aborted && this.state.phase !== 'failed') {
      try {
        if (this.state.phase === 'suspended') await this.#untilResumed(signal);
        await this.#serveOnce(signal);
      } catch (error) {
        if (signal.aborted) return;
        const isFinal = hasCode(error, ...FINAL_CODES);
        const reason = messageOf(error);
        // What is expected to go wrong has a code and says what it is; anything else is a fault of ours, with its place.
        const what = hasCode(error) ? { code: error.code, reason } : { err: error };
        this.#deps.log.warn({ vm: this.#spec.name, isFinal, ...what }, 'vm failed');
        this.#apply({ kind: 'failed', reason, isFinal });
      }
      if (this.state.phase !== 'waiting') continue;
      await clock.sleep(this.state.retryAtMs - clock.nowMs(), signal).catch(() => undefined);
      this.#restarts += 1;
      this.#apply({ kind: 'retried' });
    }
  }

  async #untilResumed(signal: AbortSignal): Promise<void> {
    const stopped = Promise.withResolvers<never>();
    const onAbort = () => stopped.reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    await Promise.race([this.#resumption.promise, stopped.promise]);
    signal.removeEventListener('abort', onAbort);
    this.#resumption = Promise.withResolvers();
  }

  /** From the image until the machine was suspended. Otherwise it throws: a machine that is wanted never ends well. */
  async #serveOnce(signal: AbortSignal): Promise<void> {
    const { clock, probe, prepareDisks } = this.#deps;
    const left = this.#left;
    this.#left = undefined;
    if (left) return this.#serveBy(left, signal);
    const startMs = clock.monotonicMs();
    const image = await this.#deps.fetchImage(this.#spec, signal);
    this.#spec = { ...this.#spec, imageDigest: image.digest };
    checkMemory(this.#spec.configuration, image.manifest);
    const fetchedMs = clock.monotonicMs();
    this.#apply({ kind: 'fetched' });

    const { name, configuration } = this.#spec;
    await this.#deps.alone();
    const disks = await prepareDisks(this.#spec, image, signal);
    using limit = new AnswerLimit(clock, this.#answerLimitMs());
    const either = AbortSignal.any([signal, limit.signal]);
    const machine = await this.#startMachine({ name, image, configuration, disks }, limit, either);
    try {
      void machine.exited.then((reason) => limit.giveUp(reason));
      await this.#deps.saved.forget(this.#spec);
      await untilReady(clock, probe, machine.addresses[0], image.manifest.http.readyPath, either);
      limit[Symbol.dispose]();
      await this.#furnish(machine, image, signal);
      const nowMs = clock.monotonicMs();
      this.#lastStart = {
        fetchMs: fetchedMs - startMs,
        prepareMs: machine.startedAtMs - fetchedMs,
        bootMs: nowMs - machine.startedAtMs,
        totalMs: nowMs - startMs,
        origin: machine.origin,
      };
      if (machine.origin === 'boot') this.#lastBootMs = this.#lastStart.bootMs;
      this.#apply({ kind: 'answered', machine });
      await this.#untilSuspended(machine, image, signal);
    } finally {
      await this.#end(machine, image);
    }
  }

  /**
   * A machine that begins, or goes on from where the VM was suspended.
   *
   * @param limit begins when a machine is about to be started, or has read what was saved: what comes before is preparation.
   */
  async #startMachine(spec: MachineSpec, limit: AnswerLimit, signal: AbortSignal): Promise<StartedMachine> {
    const { hypervisor, recordMachine, saved } = this.#deps;
    try {
      const from = await saved.find(this.#spec);
      const machine = await hypervisor.start({ ...spec, saved: from }, signal, async (machineId) => {
        await recordMachine(this.#spec, machineId);
        this.#machineId = machineId;
        if (from === undefined) limit.begin();
      });
      if (from !== undefined) limit.begin();
      return machine;
    } catch (error) {
      // From where it was suspended nobody has gone on yet, and somebody can; unless that is why it failed.
      if (!this.#stop.signal.aborted && !hasCode(error, ...UNTRIED_CODES)) await saved.forget(this.#spec);
      throw error;
    }
  }

  /** As `serveOnce`, with a machine that was left running. */
  async #serveBy(machine: Machine, signal: AbortSignal): Promise<void> {
    const { clock, probe } = this.#deps;
    this.#machineId = machine.id;
    let image: StoredImage | undefined;
    try {
      image = await this.#deps.fetchImage(this.#spec, signal);
      const { readyPath } = image.manifest.http;
      if (!(await probe(clock, machine.addresses[0], readyPath, LIFE_SIGN_LIMIT_MS, signal))) {
        throw poolError('machine_failed', 'the guest did not answer when its machine was taken over');
      }
      await this.#deps.saved.forget(this.#spec);
      await this.#furnish(machine, image, signal);
      this.#apply({ kind: 'adopted', machine });
      this.#adoption.resolve();
      await this.#untilSuspended(machine, image, signal);
    } finally {
      this.#adoption.resolve();
      await this.#end(machine, image);
    }
  }

  async #furnish(machine: Machine | StartedMachine, image: StoredImage, signal: AbortSignal): Promise<void> {
    this.#image = image;
    const origin = 'origin' in machine ? machine.origin : undefined;
    await this.#deps.furnish(this.#spec, { machine, manifest: image.manifest, origin }, signal);
  }

  /** A guest that is to end, and has a disk, may bring to it what it has in memory only. */
  async #end(machine: Machine, image: StoredImage | undefined): Promise<void> {
    const hasDisk = this.#spec.configuration.diskBytes > 0 || image?.manifest.disks !== undefined;
    if (hasDisk && this.#stop.signal.aborted) await machine.shutDown(SHUT_DOWN_LIMIT_MS);
    else await machine.stop();
  }

  /** A guest that booted here before and now takes five times as long hangs: it is not worth the whole time. */
  #answerLimitMs(): number {
    if (this.#lastBootMs === undefined) return this.#readyTimeoutMs;
    return Math.min(this.#readyTimeoutMs, Math.max(LEAST_ANSWER_LIMIT_MS, 5 * this.#lastBootMs));
  }

  /** Watches a machine that serves until it was suspended. @throws `machine_failed` when it died. */
  async #untilSuspended(machine: Machine, image: StoredImage, signal: AbortSignal): Promise<void> {
    const { clock, probe } = this.#deps;
    const look: HttpProbe = async (...place) => this.#holders > 0 || probe(...place);
    for (;;) {
      const watching = new AbortController();
      const either = AbortSignal.any([signal, watching.signal]);
      this.#suspension = Promise.withResolvers();
      const what = await Promise.race([
        machine.exited,
        untilUnresponsive(clock, look, machine.addresses[0], image.manifest.http.readyPath, either),
        this.#suspension.promise,
      ]).finally(() => {
        this.#suspension = undefined;
        watching.abort();
      });
      if (typeof what === 'string') throw poolError('machine_failed', what);
      if (await this.#bringToRest(machine, what, signal)) return;
    }
  }

  async #bringToRest(machine: Machine, { quiet, done }: Suspension, signal: AbortSignal): Promise<boolean> {
    this.#apply({ kind: 'suspending' });
    try {
      await quiet();
      await machine.suspend(this.#deps.saved.folderOf(this.#spec), signal);
    } catch (error) {
      this.#apply({ kind: 'kept' });
      done.reject(error);
      return false;
    }
    this.#apply({ kind: 'suspended' });
    done.resolve();
    return true;
  }

  #apply(event: VmEvent): void {
    const previous = this.#state;
    this.#state = transition(previous, event, this.#deps.clock.nowMs());
    if (this.#state !== previous) this.#deps.onChange(this, previous.phase);
  }
}

const notReady = (name: string, phase: VmState['phase']): CodedError =>
  poolError('vm_not_ready', `the VM ${name} is ${phase}; only one that is ready can be suspended or copied`);
