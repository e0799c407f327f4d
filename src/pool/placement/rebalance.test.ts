import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { HostNumber } from './host-table.ts';
import { Placement } from './placement.ts';
import { type MeasuredVm, rebalance } from './rebalance.ts';

const claim = { milliCpus: 100, memoryBytes: 10, diskBytes: 0, expectedMilliCpus: 100, labels: 0 };
const options = { maxMoves: 10, hotBand: 0.05, coolBand: 0.05 };

/** Hosts of 1 CPU and room for ten VMs, each with VMs that use this much of it. */
function pool(...uses: number[][]) {
  const random = { bytes: (count: number) => new Uint8Array(count).fill(3) };
  const placement = new Placement({ random }, { maxHosts: 40, typicalClaim: claim });
  const vms = new Map<HostNumber, MeasuredVm<string>[]>();
  for (const [index, used] of uses.entries()) {
    const host = placement.addHost({ milliCpus: 1000, memoryBytes: 100, diskBytes: 0, zone: 0, labels: 0 });
    vms.set(
      host,
      used.map((usedMilliCpus, vm) => ({ vm: `${index}.${vm}`, claim, usedMilliCpus })),
    );
    for (const _ of used) {
      placement.commit(host, claim);
      placement.started(host, claim);
    }
    placement.setLoad(
      host,
      used.reduce((sum, one) => sum + one, 0),
      used.length,
    );
  }
  const moves = (change: Partial<typeof options> = {}) =>
    rebalance(placement, (host) => vms.get(host) ?? [], { ...options, ...change });
  return { placement, moves };
}

describe('VMs move between hosts [desktop D15]', () => {
  test('from a hot one to the coolest: the one that uses about as much as is too much', () => {
    const { moves } = pool([50, 300, 50, 300], [50], [350, 50]);
    expect(moves()).toEqual([{ vm: '0.1', claim: { ...claim, expectedMilliCpus: 300 }, from: 0, to: 1 }]);
  });

  test('from a cool one that is full: the one that uses least, to where it does no harm', () => {
    const idle = Array.from({ length: 10 }, (_, vm) => 20 + vm);
    const { moves } = pool(idle, [300, 310], [400, 150]);
    expect(moves()).toEqual([{ vm: '0.0', claim: { ...claim, expectedMilliCpus: 20 }, from: 0, to: 2 }]);
  });

  test('not at all where all use about the same, and no more than may at a time', () => {
    expect(pool([300], [310], [290]).moves()).toEqual([]);
    const hot = [100, 100, 100, 100, 100, 100];
    expect(pool(hot, hot, [], []).moves({ maxMoves: 1 })).toHaveLength(1);
  });

  test('and are reckoned with at their target from then on', () => {
    const { placement, moves } = pool([200, 200, 200], []);
    const [move] = moves();
    expect(move).toMatchObject({ from: 0, to: 1 });
    expect([0, 1].map((host) => placement.use(host as HostNumber))).toEqual([0.4, 0.2]);
    expect(moves()).not.toContainEqual(move);
  });

  test('so that no host ends further from the mean than the furthest was, and none is given more than it has', () => {
    const uses = fc.array(fc.integer({ min: 0, max: 300 }), { maxLength: 10 });
    fc.assert(
      fc.property(fc.array(uses, { minLength: 1, maxLength: 30 }), (lists) => {
        const { placement, moves } = pool(...lists);
        const distances = () =>
          lists.map((_, host) => Math.abs(placement.use(host as HostNumber) - placement.meanUse));
        const before = Math.max(...distances());
        const counts = lists.map(({ length }) => length);
        for (const { to } of moves()) counts[to] = (counts[to] ?? 0) + 1;
        expect(Math.max(...counts)).toBeLessThanOrEqual(10);
        expect(Math.max(...distances())).toBeLessThanOrEqual(before + 0.31);
      }),
    );
  });
});
