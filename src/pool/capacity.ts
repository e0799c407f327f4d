import { formatBytes } from '../base/index.ts';
import { poolError } from './errors.ts';
import type { Configuration, ImageManifest } from './schema.ts';

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
  const freeBytes = Math.max(0, limits.hostMemoryBytes - takenBytes);
  if (costBytes > freeBytes) {
    throw poolError(
      'configuration_too_large',
      `${formatBytes(wanted)} of memory were asked for, for which the host needs ${formatBytes(costBytes)}; ` +
        `${formatBytes(freeBytes)} of ${formatBytes(limits.hostMemoryBytes)} are not taken by other VMs`,
    );
  }
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
