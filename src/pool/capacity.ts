import { formatBytes, type Random } from '../base/index.ts';
import { poolError } from './errors.ts';
import { claimOf } from './placement/claim.ts';
import { Placement } from './placement/placement.ts';
import type { Configuration, ImageManifest } from './schema.ts';

/** VMs are many and mostly idle: their number is limited by memory and by `maxVms`. */
const CPU_OVERCOMMIT = 1000;
/** It is in the cost already. */
const NO_OVERHEAD = { translationCacheBytes: 0, processBytes: 0 };
/** Among one host there is no choice. */
const NOTHING_TO_DRAW: Random = { bytes: (length) => new Uint8Array(length) };

/** What a VM takes: all its machines together, while a new version starts beside the old one. */
export interface Taken {
  readonly owner: string;
  readonly memoryBytes: number;
  /** With what QEMU itself takes. */
  readonly costBytes: number;
}

export interface CapacityLimits {
  readonly maxVms: number;
  /** How many of them this owner may have, and how much memory they may take together. */
  readonly maxVmsOfOwner: number;
  readonly maxMemoryBytesOfOwner: number;
  readonly hostCpus: number;
  readonly hostMemoryBytes: number;
}

/** One more machine: of a new VM, or of a new version of one that is there. */
export interface Claim {
  readonly owner: string;
  readonly configuration: Configuration;
  /** What the machine takes of the host's memory, with what QEMU itself takes. */
  readonly costBytes: number;
  readonly isNewVm: boolean;
}

/**
 * Whether one more machine may be had.
 *
 * @throws `pool_full`, `quota_exceeded`, `configuration_too_large`, with the limit and what is taken of it.
 */
export function checkCapacity(claim: Claim, taken: readonly Taken[], limits: CapacityLimits): void {
  const { owner, configuration, costBytes, isNewVm } = claim;
  const own = taken.filter((vm) => vm.owner === owner);
  if (isNewVm && taken.length >= limits.maxVms) {
    throw poolError('pool_full', `this pool runs ${limits.maxVms} VMs at the most`);
  }
  if (isNewVm && own.length >= limits.maxVmsOfOwner) {
    throw poolError(
      'quota_exceeded',
      `${owner} may have ${limits.maxVmsOfOwner} VMs here; it has ${own.length}`,
    );
  }
  const wanted = configuration.memoryBytes;
  const ownBytes = memoryOf(own);
  if (ownBytes + wanted > limits.maxMemoryBytesOfOwner) {
    throw poolError(
      'quota_exceeded',
      `${formatBytes(wanted)} of memory were asked for; ${owner} may have ` +
        `${formatBytes(limits.maxMemoryBytesOfOwner)} here, and its VMs take ${formatBytes(ownBytes)}`,
    );
  }
  if (configuration.cpus > limits.hostCpus) {
    throw poolError(
      'configuration_too_large',
      `${configuration.cpus} CPUs were asked for; this host has ${limits.hostCpus}`,
    );
  }
  const takenBytes = taken.reduce((sum, vm) => sum + vm.costBytes, 0);
  if (hasRoom(configuration, costBytes, takenBytes, limits)) return;
  const freeBytes = Math.max(0, limits.hostMemoryBytes - takenBytes);
  throw poolError(
    'configuration_too_large',
    `${formatBytes(wanted)} of memory were asked for, for which the host needs ${formatBytes(costBytes)}; ` +
      `${formatBytes(freeBytes)} of ${formatBytes(limits.hostMemoryBytes)} are not taken by other VMs`,
  );
}

/** Decided as over many hosts: this is the only one. Its CPUs are shared as the kernel gives them, its disk is looked at later. */
function hasRoom(
  { cpus }: Configuration,
  costBytes: number,
  takenBytes: number,
  { hostCpus, hostMemoryBytes }: CapacityLimits,
): boolean {
  const claimed = (memoryBytes: number) =>
    claimOf({ cpus, memoryBytes, diskBytes: 0, cpuOvercommit: CPU_OVERCOMMIT, expectedUse: 0 }, NO_OVERHEAD);
  const claim = claimed(costBytes);
  const placement = new Placement({ random: NOTHING_TO_DRAW }, { maxHosts: 1, typicalClaim: claim });
  const amounts = { milliCpus: 1000 * hostCpus, memoryBytes: hostMemoryBytes, diskBytes: 0 };
  const host = placement.addHost({ ...amounts, zone: 0, labels: 0 });
  placement.commit(host, claimed(takenBytes));
  return placement.place({ claim }).host !== undefined;
}

/** @throws `configuration_too_small` */
export function checkMemory({ memoryBytes }: Configuration, image: ImageManifest): void {
  const { name, minimumMemoryBytes } = image;
  if (memoryBytes >= minimumMemoryBytes) return;
  throw poolError(
    'configuration_too_small',
    `the image ${name} needs ${formatBytes(minimumMemoryBytes)} of memory; ` +
      `its configuration has ${formatBytes(memoryBytes)}`,
  );
}

const memoryOf = (vms: readonly Taken[]): number =>
  vms.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0);
