import { describe, expect, it } from 'vitest';
import { ManualClock } from '../base/index.ts';
import { Allowance } from './allowance.ts';

describe('an allowance', () => {
  it('is used up by each for itself, and comes back evenly', async () => {
    const clock = new ManualClock();
    const allowance = new Allowance(clock, 6);
    const taken = (holder: string) =>
      Array.from({ length: 10 }, () => allowance.take(holder)).filter(Boolean);
    expect(taken('a')).toHaveLength(6);
    expect(taken('b')).toHaveLength(6);
    await clock.advance(9_999);
    expect(allowance.take('a')).toBe(false);
    await clock.advance(1);
    expect(taken('a')).toHaveLength(1);
    await clock.advance(3_600_000);
    expect(taken('a')).toHaveLength(6);
  });

  it('remembers a bounded number of holders', async () => {
    const clock = new ManualClock();
    const allowance = new Allowance(clock, 1);
    for (let holder = 0; holder < 30_000; holder += 1) allowance.take(String(holder));
    expect(allowance.take('29999')).toBe(false);
    expect(allowance.take('0')).toBe(true);
  });
});
