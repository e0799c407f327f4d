import { describe, expect, test } from 'vitest';
import { type Demand, warmTargets, withStart } from './warm-sizing.ts';

const MINUTE_MS = 60_000;
const PLENTY = 1000;
const after = (...startsMs: number[]): Demand =>
  startsMs.reduce<Demand | undefined>(withStart, undefined) ?? { starts: 0, latestMs: 0 };
const kind = (key: string, demand: Demand, costBytes = 10) => ({ key, costBytes, demand });
const held = (nowMs: number, demand: Demand, limitBytes = PLENTY) =>
  warmTargets([kind('a', demand)], nowMs, limitBytes).get('a') ?? 0;

describe('machines that are held ready', () => {
  test('are one after a single start, and none ten minutes later', () => {
    const demand = after(0);
    expect(held(0, demand)).toBe(1);
    expect(held(9 * MINUTE_MS, demand)).toBe(1);
    expect(held(10 * MINUTE_MS, demand)).toBe(0);
  });

  test('are as many as came in a burst, and fewer as it fades', () => {
    const demand = after(...Array.from({ length: 12 }, () => 0));
    expect(held(0, demand)).toBe(12);
    expect(held(MINUTE_MS, demand)).toBe(5);
    expect(held(3 * MINUTE_MS, demand)).toBe(1);
  });

  test('follow the rate of starts that come one by one', () => {
    // One every ten seconds: the traces of 6.5 of them are there at any time.
    const demand = after(...Array.from({ length: 100 }, (_, index) => index * 10_000));
    expect(held(99 * 10_000, demand)).toBe(7);
  });

  test('take no more memory than there is, and each kind gets one before any gets two', () => {
    const [often, seldom] = [after(0, 0, 0, 0), after(0)];
    const targetsIn = (limitBytes: number) =>
      Object.fromEntries(warmTargets([kind('seldom', seldom), kind('often', often)], 0, limitBytes));
    expect(targetsIn(0)).toEqual({});
    expect(targetsIn(10)).toEqual({ often: 1 });
    expect(targetsIn(20)).toEqual({ often: 1, seldom: 1 });
    expect(targetsIn(39)).toEqual({ often: 2, seldom: 1 });
    expect(targetsIn(PLENTY)).toEqual({ often: 4, seldom: 1 });
  });

  test('of a kind that is too large for the room leave it to smaller ones', () => {
    const kinds = [kind('large', after(0, 0), 100), kind('small', after(0), 10)];
    expect(Object.fromEntries(warmTargets(kinds, 0, 50))).toEqual({ small: 1 });
  });
});
