import type { Accelerator } from './hypervisor/hypervisor.ts';
import type { Configuration } from './schema.ts';

const MIB = 2 ** 20;

/** What QEMU keeps of translated code when it emulates. Below 128 MiB it gave dead guests on microvm. */
export const TRANSLATION_CACHE_BYTES = 128 * MIB;

/**
 * QEMU itself, and the kernel's image, which it holds beside the guest's memory. With one processor 61 MiB were resident beside
 * the guest's memory and the translations (QEMU 7.2, a guest that had used all of its memory); half as much again is to spare.
 */
const OVERHEAD_BYTES = 96 * MIB;

/** Per processor: its threads, and what emulation keeps of the guest's page tables. */
const PROCESSOR_BYTES = 16 * MIB;

/** What one machine may take of the host's memory: to be there before it starts, and its limit from then on. */
export function machineCost({ memoryBytes, cpus }: Configuration, accelerator: Accelerator): number {
  // QEMU takes memory by the MiB.
  const guestBytes = Math.ceil(memoryBytes / MIB) * MIB;
  const cacheBytes = accelerator === 'tcg' ? TRANSLATION_CACHE_BYTES : 0;
  return guestBytes + cacheBytes + OVERHEAD_BYTES + cpus * PROCESSOR_BYTES;
}
