import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { mayGoOn, upgradeWaves } from './upgrade-waves.ts';

describe('an upgrade of all VMs of an image [desktop D17]', () => {
  test('tries one first, and then as many as may be away at a time', () => {
    const waves = upgradeWaves(['a', 'b', 'c', 'd', 'e', 'f'], { maxUnavailable: 2, maxFailed: 1 });
    expect(waves).toEqual([['a'], ['b', 'c'], ['d', 'e'], ['f']]);
  });

  test('takes each VM once, in their order, and never more than may be away', () => {
    fc.assert(
      fc.property(fc.nat(50), fc.integer({ min: 1, max: 60 }), (count, maxUnavailable) => {
        const vms = Array.from({ length: count }, (_, vm) => vm);
        const waves = upgradeWaves(vms, { maxUnavailable, maxFailed: 0 });
        expect(waves.flat()).toEqual(vms);
        expect(waves.every((wave) => wave.length > 0 && wave.length <= maxUnavailable)).toBe(true);
      }),
    );
  });

  test('ends when more of a wave failed than may, and at the first failure when only one was tried', () => {
    const options = { maxUnavailable: 10, maxFailed: 2 };
    expect([mayGoOn(0, 0, options), mayGoOn(0, 1, options)]).toEqual([true, false]);
    expect([mayGoOn(1, 2, options), mayGoOn(1, 3, options)]).toEqual([true, false]);
  });
});
