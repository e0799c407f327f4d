import { describe, expect, test } from 'vitest';
import { checkCapacity } from './capacity.ts';

const MIB = 2 ** 20;
const limits = {
  maxVms: 4,
  maxVmsOfOwner: 2,
  maxMemoryBytesOfOwner: 512 * MIB,
  hostCpus: 2,
  hostMemoryBytes: 1024 * MIB,
};
const claim = (memoryMiB: number, isNewVm = true, cpus = 1) => ({
  owner: 'photos',
  configuration: { cpus, memoryBytes: memoryMiB * MIB, diskBytes: 0 },
  // QEMU takes a megabyte for itself.
  costBytes: (memoryMiB + 1) * MIB,
  isNewVm,
});
const vm = (owner: string, memoryMiB = 128) => ({
  owner,
  memoryBytes: memoryMiB * MIB,
  costBytes: (memoryMiB + 1) * MIB,
});

describe('one more machine', () => {
  test('may be had within all limits', () => {
    checkCapacity(claim(384), [vm('photos')], limits);
  });

  test.for([
    ['pool_full', claim(1), Array.from({ length: 4 }, () => vm('other')), 'runs 4 VMs'],
    ['quota_exceeded', claim(1), [vm('photos'), vm('photos')], 'may have 2 VMs here; it has 2'],
    [
      'quota_exceeded',
      claim(385),
      [vm('photos')],
      '385 MiB of memory were asked for; photos may have 512 MiB here, and its VMs take 128 MiB',
    ],
    ['configuration_too_large', claim(1, true, 3), [], '3 CPUs were asked for; this host has 2'],
    [
      'configuration_too_large',
      claim(128),
      [vm('other', 1000)],
      '128 MiB of memory were asked for, for which the host needs 129 MiB; 23 MiB of 1 GiB are not taken',
    ],
  ] as const)('is %s, with the limit and the use of it', ([code, wanted, taken, message]) => {
    expect(() => checkCapacity(wanted, taken, limits)).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(message) }),
    );
  });

  test('counts as memory but not as a VM when it is of a new version', () => {
    const taken = [vm('photos'), vm('photos'), vm('x', 1), vm('x', 1)];
    checkCapacity(claim(256, false), taken, limits);
    expect(() => checkCapacity(claim(257, false), taken, limits)).toThrow(/take 256 MiB/);
  });
});
