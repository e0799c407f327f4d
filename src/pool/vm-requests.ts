import { availableParallelism, totalmem } from 'node:os';
import type { Clock, CodedError } from '../base/index.ts';
import type { Store } from '../platform/store/index.ts';
import { type Claim, checkCapacity } from './capacity.ts';
import { checkNotShrunk } from './disks/disk-growth.ts';
import { poolError } from './errors.ts';
import type { Hypervisor } from './hypervisor/hypervisor.ts';
import type { ImageLibrary } from './image-library.ts';
import type { RequestKey } from './operation-table.ts';
import type { Operations } from './operations.ts';
import type { Operation } from './schema.ts';
import type { PoolTables } from './tables.ts';
import type { VersionedVm } from './versioned-vm.ts';
import { insertVm, type VmRecord } from './vm-table.ts';
import {
  difference,
  firstVersion,
  transition,
  type VersionEvent,
  type WantedVersion,
} from './vm-versions.ts';

/** What an owner asks for. */
export interface VmRequest extends Omit<WantedVersion, 'ownerNote'> {
  readonly name: string;
  readonly owner: string;
  /** The note that is there stays when absent. */
  readonly ownerNote?: string;
}

/** By which the same request, sent twice, is known; for the owner that asks. */
export type Once = Omit<RequestKey, 'owner'>;

export interface VmQuotas {
  readonly maxVms: number;
  /** How many of them one owner may have. */
  readonly maxVmsOf: (owner: string) => number;
  /** How much memory they may take together; no limit but the host's when absent. */
  readonly maxMemoryBytesOf?: (owner: string) => number;
}

export interface VmRequestsDeps {
  readonly clock: Clock;
  readonly store: Store<PoolTables>;
  readonly operations: Operations;
  readonly library: ImageLibrary;
  readonly hypervisor: Pick<Hypervisor, 'costOf'>;
  /** By name; the pool's own. */
  readonly vms: Map<string, VersionedVm>;
  readonly newVm: (record: VmRecord) => VersionedVm;
  readonly announce: () => void;
}

/** What owners ask for: which VM and which version of it that means, once for each key, within the quotas. */
export class VmRequests {
  readonly #deps: VmRequestsDeps;
  readonly #quotas: VmQuotas;

  constructor(deps: VmRequestsDeps, quotas: VmQuotas) {
    this.#deps = deps;
    this.#quotas = quotas;
  }

  create(request: VmRequest, once?: Once): Promise<Operation> {
    return this.#ask('load', request, once);
  }

  change(request: VmRequest, once?: Once): Promise<Operation> {
    return this.#ask('change', request, once);
  }

  rollBack(name: string, owner: string, once?: Once): Promise<Operation> {
    const { operations, library, vms } = this.#deps;
    const key = once && { ...once, owner };
    return operations.once(key, async () => {
      const vm = vms.get(name);
      if (vm?.owner !== owner) throw poolError('vm_not_found', `no VM of ${owner} is named ${name}`);
      const { next, previous } = vm.versions;
      if (!next && !previous) {
        throw poolError('previous_version_missing', `the VM ${name} has no version before this one`);
      }
      if (!next && previous?.imageDigest !== undefined) {
        await library.checkNotWithdrawn(owner, previous.imageDigest);
      }
      return this.#move(vm, 'rollback', { kind: 'rolled_back' }, key);
    });
  }

  /** @throws as `create`, when there is no room for the machine of a VM that was suspended. */
  checkRoom(vm: VersionedVm): void {
    const { owner, versions } = vm;
    this.#checkCapacity({ owner, configuration: versions.current.configuration, isNewVm: false });
  }

  #ask(kind: 'load' | 'change', request: VmRequest, once: Once | undefined): Promise<Operation> {
    const { operations, library, vms } = this.#deps;
    const { name, owner, imageRef, imageDigest, configuration } = request;
    const key = once && { ...once, owner };
    const wantedOf = (vm?: VersionedVm): WantedVersion => {
      const { ownerNote = vm?.versions.current.ownerNote ?? '' } = request;
      return { imageRef, imageDigest, configuration, ownerNote };
    };
    const present = () => {
      const vm = vms.get(name);
      if (vm && vm.owner !== owner) {
        throw poolError('vm_conflict', `a VM named ${name} is there with another owner; choose another name`);
      }
      return vm && { vm, event: eventOf(kind, vm, wantedOf(vm)) };
    };
    return operations.once(key, async () => {
      const before = present();
      // Told at once, not found out later by a VM that fails.
      if (!before || versionAfter(before.vm, before.event) > before.vm.versions.latest) {
        await library.check(request);
      }
      // Another request may have been faster meanwhile.
      const found = present();
      if (!found) return this.#begin(request, wantedOf(), key);
      return this.#move(found.vm, kind, found.event, key);
    });
  }

  /** The first version of a new VM. */
  async #begin(
    { name, owner, configuration }: VmRequest,
    wanted: WantedVersion,
    key: RequestKey | undefined,
  ): Promise<Operation> {
    this.#checkCapacity({ owner, configuration, isNewVm: true });
    const { clock, store, vms, operations, newVm } = this.#deps;
    const record = { name, owner, createdAtMs: clock.nowMs(), versions: firstVersion(wanted) };
    const vm = newVm(record);
    const { operation, also } = operations.prepare({ owner, kind: 'load', vm: name, version: 1 }, key);
    // Taken before the write: of two requests at once the second sees the first.
    vms.set(name, vm);
    try {
      await store.transaction(async (transaction) => {
        await insertVm(transaction, record);
        await also(transaction);
      });
    } catch (error) {
      vms.delete(name);
      await vm.close();
      throw error;
    }
    this.#began(vm, operation);
    return operation;
  }

  /** A VM that is there follows `event`: the operation is a new one, or the one that brings or brought what is wished. */
  async #move(
    vm: VersionedVm,
    kind: Operation['kind'],
    event: VersionEvent,
    key: RequestKey | undefined,
  ): Promise<Operation> {
    const { operations } = this.#deps;
    const { owner, name, versions: before } = vm;
    const version = versionAfter(vm, event);
    const isNew = version > before.latest;
    const present = isNew ? undefined : await operations.presentOf(vm.describe(), version);
    const { operation, also } = present
      ? { operation: present, also: operations.joins(present, key) }
      : operations.prepare({ owner, kind, vm: name, version }, key);
    await vm.change((versions) => {
      if (versionAfter(vm, event) !== version) throw justChanged(name);
      const { next } = transition(versions, event);
      if (isNew && versions.latest < version && next) {
        // A version to go back to sees the disk as it has become.
        if (kind !== 'rollback') checkNotShrunk(versions.current.configuration, next.configuration);
        this.#checkCapacity({ owner, configuration: next.configuration, isNewVm: false });
      }
      return { event, also };
    });
    // Whoever asks for a VM that sleeps wants it awake.
    vm.wake();
    if (present) vm.start();
    else this.#began(vm, operation);
    return operation;
  }

  #began(vm: VersionedVm, operation: Operation): void {
    this.#deps.operations.began(operation);
    vm.start();
    this.#deps.announce();
  }

  #checkCapacity(machine: Omit<Claim, 'costBytes'>): void {
    const claim = { ...machine, costBytes: this.#deps.hypervisor.costOf(machine.configuration) };
    const { maxVms, maxVmsOf, maxMemoryBytesOf } = this.#quotas;
    const taken = [...this.#deps.vms.values()].map((vm) => vm.taken);
    checkCapacity(claim, taken, {
      maxVms,
      maxVmsOfOwner: maxVmsOf(claim.owner),
      maxMemoryBytesOfOwner: maxMemoryBytesOf?.(claim.owner) ?? Number.POSITIVE_INFINITY,
      hostCpus: availableParallelism(),
      hostMemoryBytes: totalmem(),
    });
  }
}

/** What a request makes of a VM that is there. `load` leaves it as it is, but for its note. */
function eventOf(kind: 'load' | 'change', vm: VersionedVm, wanted: WantedVersion): VersionEvent {
  if (kind === 'change') return { kind: 'wished', wanted };
  const { current, next } = vm.versions;
  const wished = [current, next].find((version) => version && difference(version, wanted) === undefined);
  if (wished) return { kind: 'noted', version: wished.version, ownerNote: wanted.ownerNote };
  throw poolError(
    'vm_conflict',
    `a VM named ${vm.name} is there with another ${difference(current, wanted)}; ` +
      'ask for a new version of it, or stop it first',
  );
}

/** Which version an event is about: the one that it begins, notes or leaves. */
function versionAfter(vm: VersionedVm, event: VersionEvent): number {
  if (event.kind === 'noted') return event.version;
  const { current, next } = transition(vm.versions, event);
  return (next ?? current).version;
}

const justChanged = (name: string): CodedError =>
  poolError('vm_conflict', `the VM ${name} was just changed by another request; ask again`);
