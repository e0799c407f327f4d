import type { Clock, Closable } from '../base/index.ts';
import type { Log } from '../platform/telemetry/index.ts';
import type { HeldGuest } from './applications/applications.ts';
import type { Taken } from './capacity.ts';
import { poolError } from './errors.ts';
import type { Also } from './operations.ts';
import type { Progress, Vm } from './schema.ts';
import type { VmState } from './vm-state.ts';
import type { VmSpec, VmSupervisor } from './vm-supervisor.ts';
import type { VmRecord } from './vm-table.ts';
import { transition, type VersionEvent, type VmVersion, type VmVersions } from './vm-versions.ts';

export interface VersionedVmDeps {
  readonly clock: Clock;
  readonly log: Log;
  /** What keeps one version running; not yet started. */
  readonly supervise: (
    spec: VmSpec,
    onChange: (supervisor: VmSupervisor, previous: VmState['phase']) => void,
  ) => VmSupervisor;
  /** Keeps the versions, and whatever belongs to the same change, in one transaction. */
  readonly save: (versions: VmVersions, also?: Also) => Promise<void>;
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
  readonly #record: Omit<VmRecord, 'versions'>;
  #versions: VmVersions;
  readonly #supervisors = new Map<number, VmSupervisor>();
  /** Machines that no request goes to any more, and what ends their drain. */
  readonly #draining = new Map<VmSupervisor, AbortController>();
  readonly #ending = new Set<Promise<void>>();
  readonly #progress = new Map<number, Progress>();
  #failedVersion: Vm['failedVersion'];
  #turn: Promise<unknown> = Promise.resolve();
  #hasBegun = false;
  #isStopped = false;

  constructor(deps: VersionedVmDeps, { versions, ...record }: VmRecord) {
    this.#deps = deps;
    this.#record = record;
    this.#versions = versions;
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
    return this.#supervisorOf(this.#versions.current).machineId;
  }

  /** The guest of the version that serves, if one does: see `VmSupervisor`. */
  hold(): HeldGuest | undefined {
    return this.#supervisorOf(this.#versions.current).hold();
  }

  get taken(): Taken {
    const running = [...this.#supervisors.values(), ...this.#draining.keys()];
    const memoryBytes = running.reduce((sum, { spec }) => sum + spec.configuration.memoryBytes, 0);
    return { owner: this.owner, memoryBytes };
  }

  describe(): Vm {
    const { current, next, previous } = this.#versions;
    const vm = this.#describe(current);
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
    for (const drain of this.#draining.values()) drain.abort();
    await Promise.all([...this.#supervisors.values()].map((supervisor) => supervisor.stop()));
    await Promise.all(this.#ending);
  }

  async #apply(event: VersionEvent, also?: Also): Promise<void> {
    const versions = transition(this.#versions, event);
    if (this.#isStopped || (versions === this.#versions && !also)) return;
    await this.#deps.save(versions, also);
    if (versions.latest !== this.#versions.latest) this.#failedVersion = undefined;
    this.#versions = versions;
    this.#reconcile();
    this.#deps.onChange();
  }

  /** Gives each version that is wanted its supervisor, and ends those of the others. */
  #reconcile(): void {
    const { current, next } = this.#versions;
    const wanted = [current, ...(next ? [next] : [])];
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

  #supervise(version: VmVersion): void {
    const { name, owner, createdAtMs } = this.#record;
    const supervisor = this.#deps.supervise({ name, owner, createdAtMs, ...version }, (...change) =>
      this.#changed(...change),
    );
    this.#supervisors.set(version.version, supervisor);
    if (this.#hasBegun) supervisor.start();
  }

  #changed(supervisor: VmSupervisor, previous: VmState['phase']): void {
    const draining = this.#draining.get(supervisor);
    if (draining) {
      // It will not be started again for users that it has not any more.
      draining.abort();
      return;
    }
    const vm = supervisor.describe();
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

  #retire(supervisor: VmSupervisor): void {
    const ended = new AbortController();
    const isServing = supervisor.state.phase === 'ready';
    this.#draining.set(supervisor, ended);
    if (!isServing) ended.abort();
    const ending = this.#deps.clock
      .sleep(DRAIN_MS, ended.signal)
      .catch(() => undefined)
      .then(() => supervisor.stop())
      .catch((error: unknown) => {
        this.#deps.log.error({ err: error, vm: this.name }, 'an old version did not end');
      })
      .then(() => {
        this.#draining.delete(supervisor);
        this.#ending.delete(ending);
      });
    this.#ending.add(ending);
  }

  #inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  #describe(version: VmVersion): Vm {
    const vm = this.#supervisorOf(version).describe();
    const progress = this.#progress.get(version.version);
    return progress ? { ...vm, progress } : vm;
  }

  #supervisorOf({ version }: VmVersion): VmSupervisor {
    const supervisor = this.#supervisors.get(version);
    if (!supervisor) throw new Error(`version ${version} of ${this.name} has no supervisor`);
    return supervisor;
  }
}

const describeOther = ({ version, imageRef, imageDigest }: VmVersion | Vm) => ({
  version,
  imageRef,
  imageDigest,
});
