import { type Clock, type Closable, type CodedError } from '../base/index.ts';
import type { Log } from '../platform/telemetry/index.ts';
import type { HeldGuest } from './applications/applications.ts';
import type { Taken } from './capacity.ts';
import { poolError } from './errors.ts';
import type { Also } from './operations.ts';
import { RetiringMachines } from './retiring-machines.ts';
import type { Configuration, Progress, SuspendedBy, Vm } from './schema.ts';
import type { VmState } from './vm-state.ts';
import type { VmSpec, VmSupervisor } from './vm-supervisor.ts';
import type { VmRecord } from './vm-table.ts';
import {
  describeOther,
  transition,
  type VersionEvent,
  type VmVersion,
  type VmVersions,
} from './vm-versions.ts';
import { WakeCalls } from './wake-calls.ts';

export interface VersionedVmDeps {
  readonly clock: Clock;
  readonly log: Log;
  /**
   * What keeps one version running; not yet started.
   *
   * @param alone resolves when the disks are there for its machine: no other one has them.
   */
  readonly supervise: (
    spec: VmSpec,
    onChange: (supervisor: VmSupervisor, previous: VmState['phase']) => void,
    alone: () => Promise<void>,
    isSuspended: boolean,
  ) => VmSupervisor;
  /** Whether both versions write to the same disk, so that one of them can run at a time. */
  readonly sharesDisks: (one: VmVersion, other: VmVersion) => boolean;
  /** Makes the disks what the version that is to run next needs them to be, while nobody has them. */
  readonly settleDisks: (versions: VmVersions) => Promise<void>;
  /** Keeps what is wanted, and whatever belongs to the same change, in one transaction. */
  readonly save: (wanted: Pick<VmRecord, 'name' | 'versions' | 'suspendedBy'>, also?: Also) => Promise<void>;
  /** Resolves when no request of the VM is under way and none is to come. */
  readonly quiet: () => Promise<void>;
  /** What a machine takes of the host's memory. */
  readonly costOf: (configuration: Configuration) => number;
  /** @throws when there is no room for its machine. */
  readonly checkRoom: () => void;
  /** Removes what was kept of versions that are not wanted any more. */
  readonly forgetSaved: (version: number) => Promise<void>;
  /** Called after every change of a version's phase, and of the versions. */
  readonly onChange: (change?: { readonly vm: Vm; readonly previous: VmState['phase'] }) => void;
}

/** For how long an old version's machine goes on with the requests that it has, once a new one serves. */
const DRAIN_MS = 30_000;

/**
 * One VM as its users know it, by its name: the version that serves, and while it changes the next one beside it. Which
 * versions there are is decided in `vm-versions.ts`; here each gets its supervisor, and what is replaced drains and ends.
 */
export class VersionedVm implements Closable {
  readonly #deps: VersionedVmDeps;
  readonly #record: Pick<VmRecord, 'name' | 'owner' | 'createdAtMs'>;
  #versions: VmVersions;
  /** Until it is ready again. */
  #suspendedBy: SuspendedBy | undefined;
  readonly #wakeCalls: WakeCalls;
  readonly #supervisors = new Map<number, VmSupervisor>();
  readonly #retiring: RetiringMachines;
  readonly #progress = new Map<number, Progress>();
  /** The version that runs instead of the one that serves. */
  #replacedBy: number | undefined;
  #failedVersion: Vm['failedVersion'];
  #turn: Promise<unknown> = Promise.resolve();
  #hasBegun = false;
  #isStopped = false;

  constructor(deps: VersionedVmDeps, { versions, suspendedBy, ...record }: VmRecord) {
    this.#deps = deps;
    this.#retiring = new RetiringMachines(deps);
    this.#wakeCalls = new WakeCalls(deps, record.name, () => this.resume());
    this.#record = record;
    this.#versions = versions;
    this.#suspendedBy = suspendedBy;
    const { current, next } = versions;
    // It may have begun already, and changed the disk.
    if (next && deps.sharesDisks(current, next)) this.#replacedBy = next.version;
    this.#reconcile();
  }

  get name(): string {
    return this.#record.name;
  }

  get owner(): string {
    return this.#record.owner;
  }

  get versions(): VmVersions {
    return this.#versions;
  }

  /** The machine of the version that serves, for its console. */
  get machineId(): string | undefined {
    return this.#supervisorOf(this.#toRun[0] ?? this.#versions.current).machineId;
  }

  /** The guest of the version that serves, if one does: see `VmSupervisor`. */
  hold(): HeldGuest | undefined {
    return this.#supervisors.get(this.#versions.current.version)?.hold();
  }

  get taken(): Taken {
    const all = [...this.#supervisors.values(), ...this.#retiring.supervisors];
    const configurations = all
      .filter(({ state }) => state.phase !== 'suspended')
      .map(({ spec }) => spec.configuration);
    return {
      owner: this.owner,
      memoryBytes: configurations.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0),
      costBytes: configurations.reduce((sum, configuration) => sum + this.#deps.costOf(configuration), 0),
    };
  }

  describe(): Vm {
    const { current, next, previous } = this.#versions;
    const vm = this.#describe(current);
    if (this.#suspendedBy) vm.suspendedBy = this.#suspendedBy;
    const { failure } = this.#wakeCalls;
    if (failure !== undefined && vm.phase === 'suspended') vm.reason = failure;
    if (next) {
      const { phase, reason, progress } = this.#describe(next);
      vm.next = { ...describeOther(next), phase, reason, progress };
    }
    if (previous) vm.previous = describeOther(previous);
    if (this.#failedVersion) vm.failedVersion = this.#failedVersion;
    return vm;
  }

  /** Resolves when it is known of each machine that was left running for it whether it serves. */
  get adoption(): Promise<unknown> {
    return Promise.all([...this.#supervisors.values()].map(({ adoption }) => adoption));
  }

  /** Begins, or begins again with a version that was given up. */
  start(): void {
    this.#hasBegun = true;
    for (const supervisor of this.#supervisors.values()) supervisor.start();
  }

  /**
   * Changes what the VM is to be; what has to start is started when this resolves.
   *
   * @param decide is asked once it is this change's turn; what it throws is thrown.
   * @throws `vm_conflict` when the VM is being stopped.
   */
  change(
    decide: (versions: VmVersions) => { readonly event: VersionEvent; readonly also?: Also | undefined },
  ): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#isStopped) {
        throw poolError('vm_conflict', `the VM ${this.name} is being stopped; ask again when it is gone`);
      }
      const { event, also } = decide(this.#versions);
      await this.#apply(event, also);
    });
  }

  /**
   * Ends its machine for now; what it was is kept, and `resume` brings it back. One that is suspended already is from now on
   * suspended by whoever asked last.
   *
   * @throws `vm_not_ready`, `vm_conflict` while a new version is on its way, or why it could not be.
   */
  suspend(by: SuspendedBy): Promise<void> {
    return this.#inTurn(async () => {
      const { versions } = this;
      if (this.#isStopped || versions.next) throw isBusy(this.name);
      const supervisor = this.#supervisorOf(versions.current);
      const { phase } = supervisor.state;
      if (phase === 'suspended') {
        if (by === 'operator') await this.#keepSuspension(by);
        return;
      }
      // Written first, so that it is not lost; what serves meanwhile is no harm.
      await this.#keepSuspension(by);
      try {
        await supervisor.suspend(this.#deps.quiet);
      } catch (error) {
        if (!this.#isStopped) await this.#keepSuspension(undefined);
        throw error;
      }
    });
  }

  /**
   * Brings it back; resolves when its machine is on its way. Does nothing when it is not suspended.
   *
   * @throws when there is no room for its machine.
   */
  resume(): Promise<void> {
    return this.#inTurn(async () => {
      const supervisor = this.#supervisorOf(this.#versions.current);
      if (this.#isStopped || supervisor.state.phase !== 'suspended') return;
      this.#deps.checkRoom();
      await this.#deps.save({ name: this.name, versions: this.#versions });
      supervisor.resume();
    });
  }

  /** A request came for it: it is brought back if that is all that it waits for. */
  wake(): void {
    if (this.#suspendedBy === 'idleness') this.#wakeCalls.call();
  }

  async #keepSuspension(by: SuspendedBy | undefined): Promise<void> {
    await this.#deps.save({ name: this.name, versions: this.#versions, suspendedBy: by });
    this.#suspendedBy = by;
    this.#deps.onChange();
  }

  /** Writes what its machine is, and its disks, into a folder. @throws `vm_not_ready`, `vm_conflict` */
  snapshot(folder: string): Promise<void> {
    return this.#inTurn(() => this.#supervisorOf(this.#versions.current).snapshot(folder));
  }

  /**
   * Ends its machine and goes on from what it was.
   *
   * @param bringBack puts that, and the disks as they were, in their places, while nobody has them.
   * @throws `vm_conflict` while a new version is on its way; when `bringBack` failed the VM stays suspended.
   */
  revert(bringBack: () => Promise<void>): Promise<void> {
    return this.#inTurn(async () => {
      const { current, next } = this.#versions;
      if (this.#isStopped || next) throw isBusy(this.name);
      const supervisor = this.#supervisorOf(current);
      if (supervisor.state.phase === 'suspended') this.#deps.checkRoom();
      // What is half brought back must not be started, by us or by whoever comes after us.
      await this.#keepSuspension('operator');
      this.#supervisors.delete(current.version);
      this.#supervise(current, true);
      await supervisor.stop();
      await bringBack();
      await this.#deps.save({ name: this.name, versions: this.#versions });
      this.#supervisorOf(current).resume();
    });
  }

  /** The image behind a version's reference is this one from now on. */
  async pin(version: number, imageDigest: string): Promise<void> {
    await this.#inTurn(() => this.#apply({ kind: 'pinned', version, imageDigest }));
  }

  /** How much of a version's image is here; undefined when that is no question any more. */
  showProgress(version: number, progress: Progress | undefined): void {
    if (progress) this.#progress.set(version, progress);
    else this.#progress.delete(version);
  }

  /** Ends the VM for good, once `forget` has taken it out of the store; resolves when its machines are gone. */
  async end(forget: () => Promise<void>): Promise<void> {
    await this.#inTurn(async () => {
      await forget();
      this.#isStopped = true;
    });
    await this.close();
  }

  /** Ends all machines; resolves when they are gone. */
  async close(): Promise<void> {
    this.#isStopped = true;
    const ending = this.#retiring.close();
    await Promise.all([...this.#supervisors.values()].map((supervisor) => supervisor.stop()));
    await ending;
  }

  async #apply(event: VersionEvent, also?: Also): Promise<void> {
    const versions = transition(this.#versions, event);
    if (this.#isStopped || (versions === this.#versions && !also)) return;
    // Another version takes its place by itself; one that goes on as it is stays as it is.
    const suspendedBy =
      versions.current.version === this.#versions.current.version ? this.#suspendedBy : undefined;
    await this.#deps.save({ name: this.name, versions, suspendedBy }, also);
    this.#suspendedBy = suspendedBy;
    if (versions.latest !== this.#versions.latest) this.#failedVersion = undefined;
    this.#versions = versions;
    this.#reconcile();
    // What was kept in case that the change fails is not needed any more.
    if (event.kind === 'answered') await this.#deps.settleDisks(versions);
    this.#deps.onChange();
  }

  /** Gives each version that is wanted its supervisor, and ends those of the others. */
  #reconcile(): void {
    const wanted = this.#toRun;
    for (const [version, supervisor] of this.#supervisors) {
      if (wanted.some((one) => one.version === version)) continue;
      this.#supervisors.delete(version);
      this.#retire(supervisor);
    }
    for (const version of wanted) {
      const supervisor = this.#supervisors.get(version.version);
      if (supervisor) supervisor.ownerNote = version.ownerNote;
      else this.#supervise(version);
    }
  }

  /** A new version runs beside the one that serves; where they share a disk, instead of it as soon as it can begin. */
  get #toRun(): readonly VmVersion[] {
    const { current, next } = this.#versions;
    if (!next) return [current];
    return this.#replacedBy === next.version ? [next] : [current, next];
  }

  #supervise(version: VmVersion, isSuspended = false): void {
    const { name, owner, createdAtMs } = this.#record;
    const supervisor = this.#deps.supervise(
      { name, owner, createdAtMs, ...version },
      (...change) => this.#changed(...change),
      () => this.#untilAlone(version),
      isSuspended,
    );
    this.#supervisors.set(version.version, supervisor);
    if (this.#hasBegun) supervisor.start();
  }

  #changed(supervisor: VmSupervisor, previous: VmState['phase']): void {
    // It will not be started again for users that it has not any more.
    if (this.#retiring.cutShort(supervisor)) return;
    const vm = supervisor.describe();
    if (vm.phase === 'ready' && previous !== 'suspending') this.#suspendedBy = undefined;
    this.#deps.onChange({ vm, previous });
    if (supervisor.spec.version !== this.#versions.next?.version) return;
    const { version } = supervisor.spec;
    if (vm.phase === 'ready') this.#follow({ kind: 'answered', version });
    if (vm.phase === 'failed') {
      this.#failedVersion = { ...describeOther(vm), reason: vm.reason ?? 'for no known reason' };
      this.#follow({ kind: 'failed', version });
    }
  }

  /** What follows from what a machine did. */
  #follow(event: VersionEvent): void {
    const { log } = this.#deps;
    this.#inTurn(() => this.#apply(event)).catch((error: unknown) => {
      log.error({ err: error, vm: this.name, event: event.kind }, 'a change of version was not kept');
    });
  }

  /** A version has its image, and is about to have its machine. */
  async #untilAlone(version: VmVersion): Promise<void> {
    const { current, next } = this.#versions;
    const isNext = version.version === next?.version;
    if (isNext && this.#deps.sharesDisks(current, next)) {
      this.#replacedBy = next.version;
      this.#reconcile();
    }
    await this.#retiring.ended((other) => this.#deps.sharesDisks(other, version));
    await this.#deps.settleDisks(isNext ? this.#versions : { ...this.#versions, next: undefined });
  }

  #retire(supervisor: VmSupervisor): void {
    const { spec } = supervisor;
    // Whoever waits for its disk does not wait long: new requests go to the origin meanwhile.
    const isInTheWay = this.#toRun.some((version) => this.#deps.sharesDisks(spec, version));
    this.#retiring.retire(
      supervisor,
      (signal) => (isInTheWay ? this.#deps.quiet() : this.#deps.clock.sleep(DRAIN_MS, signal)),
      () => this.#deps.forgetSaved(spec.version),
    );
  }

  #inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  #describe(version: VmVersion): Vm {
    const supervisor = this.#supervisors.get(version.version);
    // While another version runs instead of it, it is as far as that one.
    const [running = version] = this.#toRun;
    const vm = supervisor?.describe() ?? { ...this.#supervisorOf(running).describe(), ...version };
    const progress = this.#progress.get(version.version);
    return progress ? { ...vm, progress } : vm;
  }

  #supervisorOf({ version }: VmVersion): VmSupervisor {
    const supervisor = this.#supervisors.get(version);
    // Another version runs instead of it, on the same disk.
    if (!supervisor) throw isBusy(this.name);
    return supervisor;
  }
}

const isBusy = (name: string): CodedError =>
  poolError('vm_conflict', `the VM ${name} is being stopped or changed; ask again when that is over`);
