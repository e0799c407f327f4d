import { expect, test } from 'vitest';
import { machineCost } from './machine-cost.ts';

const MIB = 2 ** 20;

test('a machine costs more than its guest sees: QEMU itself, a part for each processor, and emulated its translations', () => {
  const configuration = { cpus: 2, memoryBytes: 192 * MIB - 1, diskBytes: 2 ** 40 };
  const kvm = machineCost(configuration, 'kvm');
  expect(kvm).toBe((192 + 96 + 2 * 16) * MIB);
  expect(machineCost(configuration, 'tcg')).toBe(kvm + 128 * MIB);
});
