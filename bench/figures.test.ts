import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { describeMachine, figure, isMet, median, percentile } from './figures.ts';

const values = fc.array(fc.double({ min: -1e6, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 50 });

describe('the median', () => {
  test('is the middle value, in whatever order they came', () => {
    expect(median([30, 10, 20])).toBe(20);
  });

  test('of an even number is the mean of the two in the middle', () => {
    expect(median([40, 10, 30, 20])).toBe(25);
  });

  test('leaves the values as they were', () => {
    const given = [3, 1, 2];
    median(given);
    expect(given).toEqual([3, 1, 2]);
  });

  test('of nothing is no number', () => {
    expect(median([])).toBeNaN();
  });
});

describe('a percentile', () => {
  test('is the value at the nearest rank', () => {
    const hundred = Array.from({ length: 100 }, (_, index) => index + 1);
    expect([50, 95, 99, 100].map((percent) => percentile(hundred, percent))).toEqual([50, 95, 99, 100]);
    expect(percentile([15, 20, 35, 40, 50], 30)).toBe(20);
  });

  test('of few values is the largest when no smaller one covers it', () => {
    expect(percentile([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 95)).toBe(10);
  });

  test('is a value that was seen, not exceeded by at least that part of all', () => {
    fc.assert(
      fc.property(values, fc.integer({ min: 1, max: 100 }), (given, percent) => {
        const found = percentile(given, percent);
        const covered = given.filter((value) => value <= found).length;
        return given.includes(found) && covered * 100 >= percent * given.length;
      }),
    );
  });

  test('of nothing is no number', () => {
    expect(percentile([], 95)).toBeNaN();
  });
});

describe('a figure', () => {
  const words = { name: 'boot', unit: 'ms', better: 'lower', conditions: 'quiet' } as const;

  test('has the median of its runs for a value', () => {
    expect(figure({ ...words, target: 400 }, [1700, 1500.4, 1600])).toEqual({
      ...words,
      target: 400,
      value: 1600,
      runs: [1700, 1500, 1600],
    });
  });

  test('without a run has no value', () => {
    expect(figure(words, [])).toMatchObject({ value: null, target: null, runs: [] });
  });

  test('keeps small values to four digits', () => {
    expect(figure(words, [0.123456, 12.3456]).runs).toEqual([0.1235, 12.35]);
  });

  test('meets its target when it is as good or better', () => {
    const lower = figure({ ...words, target: 400 }, [400]);
    const higher = figure({ ...words, better: 'higher', target: 400 }, [400]);
    expect([isMet(lower), isMet(higher)]).toEqual([true, true]);
    expect(isMet({ ...lower, value: 401 })).toBe(false);
    expect(isMet({ ...higher, value: 399 })).toBe(false);
  });

  test('without target or value neither meets nor misses it', () => {
    expect(isMet(figure(words, [1]))).toBeUndefined();
    expect(isMet(figure({ ...words, target: 1 }, []))).toBeUndefined();
  });
});

describe('the machine', () => {
  test('is told by processors, memory and accelerator', () => {
    const machine = describeMachine(['AMD  EPYC ', 'AMD EPYC'], 24.1 * 2 ** 30, 'tcg');
    expect(machine).toBe('2 × AMD EPYC, 24 GiB, TCG');
  });

  test('may have processors of two kinds, and no accelerator', () => {
    expect(describeMachine(['fast', 'slow', 'slow'], 2 ** 33)).toBe('1 × fast, 2 × slow, 8 GiB');
  });
});
