import { expect, test } from 'vitest';
import { claimOf } from './claim.ts';

const MIB = 2 ** 20;
const contract = { cpus: 2, memoryBytes: 512 * MIB, diskBytes: 5, cpuOvercommit: 3, expectedUse: 0.25 };

test('a VM claims its memory with what QEMU takes beside it, its disk, and its part of overcommitted CPUs [desktop D5]', () => {
  const overhead = { translationCacheBytes: 128 * MIB, processBytes: 64 * MIB };
  expect(claimOf(contract, overhead, 0b101)).toEqual({
    milliCpus: 667,
    memoryBytes: 704 * MIB,
    diskBytes: 5,
    expectedMilliCpus: 500,
    labels: 0b101,
  });
});
