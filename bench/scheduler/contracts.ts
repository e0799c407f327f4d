import { type Claim, type Contract, claimOf } from '../../src/pool/placement/claim.ts';
import type { Host } from '../../src/pool/placement/host-table.ts';

const GIB = 2 ** 30;
const MIB = 2 ** 20;

/** What is sold: a size, and of how many VMs in a hundred it is. */
interface Size {
  readonly percent: number;
  readonly contract: Contract;
}

const SMALL = { cpus: 1, memoryBytes: 2 * GIB, diskBytes: 20 * GIB, cpuOvercommit: 4, expectedUse: 0.25 };
const MEDIUM = { cpus: 2, memoryBytes: 4 * GIB, diskBytes: 40 * GIB, cpuOvercommit: 2, expectedUse: 0.25 };
const LARGE = { cpus: 4, memoryBytes: 8 * GIB, diskBytes: 80 * GIB, cpuOvercommit: 1.5, expectedUse: 0.25 };

export const SIZES: readonly [Size, Size, Size] = [
  { percent: 46, contract: SMALL },
  { percent: 30, contract: MEDIUM },
  { percent: 24, contract: LARGE },
];

export const SIZES_IN_WORDS =
  '46 % 1 CPU 2 GiB, 30 % 2 CPUs 4 GiB, 24 % 4 CPUs 8 GiB, CPUs overcommitted 4, 2 and 1.5 times';

/** TCG's translation cache and QEMU itself. */
const OVERHEAD = { translationCacheBytes: 128 * MIB, processBytes: 64 * MIB };

const CLAIMS: readonly Claim[] = SIZES.map(({ contract }) => claimOf(contract, OVERHEAD));

export const claimOfSize = (size: number): Claim => CLAIMS[size] as Claim;

/** Larger contracts cost more, and come back first. */
export const priorityOfSize = (size: number): number => size;

export const TYPICAL_CLAIM: Claim = claimOf(MEDIUM, OVERHEAD);

/** Three generations of machines; memory is what they run out of first. */
const HOST_CPUS = [64, 48, 64, 96] as const;
const MEMORY_A_CPU_BYTES = 3.5 * GIB;
const DISK_A_CPU_BYTES = 50 * GIB;

export const HOSTS_IN_WORDS = 'a quarter each 48 and 96 CPUs, half 64, 3.5 GiB a CPU';

export function hostOf(index: number, zones: number): Host {
  const cpus = HOST_CPUS[Math.floor(index / zones) % HOST_CPUS.length] ?? 64;
  return {
    milliCpus: cpus * 1000,
    memoryBytes: cpus * MEMORY_A_CPU_BYTES,
    diskBytes: cpus * DISK_A_CPU_BYTES,
    zone: index % zones,
    labels: 0,
  };
}

/** Which size a number from 0 to below 1 stands for. */
export function sizeOf(number: number): number {
  if (number * 100 < SIZES[0].percent) return 0;
  return number * 100 < SIZES[0].percent + SIZES[1].percent ? 1 : 2;
}
