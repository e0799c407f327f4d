import { describe, expect, test } from 'vitest';
import {
  allowedCores,
  cpuTimeOfTree,
  parseCoreList,
  parseCoreTime,
  parseProcessStat,
  sumOfTree,
} from './cpu-time.ts';

describe('the processor time of a process', () => {
  test('is read past a name with spaces and brackets, children that ended included', () => {
    const stat = '42 (a) b (c 1 2) S 7 42 42 0 -1 4194560 100 0 0 0 150 50 20 3 20 0 1 0 12345 1 1';
    expect(parseProcessStat(stat)).toEqual({ parent: 7, cpuUs: 2_230_000 });
  });

  test('is that of all its descendants, and of nobody else', () => {
    const processes = new Map([
      [1, { parent: 0, cpuUs: 1_000_000 }],
      [10, { parent: 1, cpuUs: 100 }],
      [11, { parent: 10, cpuUs: 20 }],
      [12, { parent: 11, cpuUs: 3 }],
      [20, { parent: 1, cpuUs: 7000 }],
    ]);
    expect(sumOfTree(10, processes)).toBe(123);
    expect(sumOfTree(20, processes)).toBe(7000);
    expect(sumOfTree(99, processes)).toBe(0);
  });

  test('of this process grows as it works', () => {
    const before = cpuTimeOfTree(process.pid);
    const untilMs = performance.now() + 60;
    while (performance.now() < untilMs) Math.random();
    expect(cpuTimeOfTree(process.pid)).toBeGreaterThan(before);
  });
});

describe('the time of a core', () => {
  const stat = 'cpu  9 9 9 9 9 9 9 9 0 0\ncpu1 1 2 3 400 50 6 7 8 0 0\ncpu10 5 0 0 0 0 0 0 0 0 0\n';

  test('is what it did for anybody, and beside that what the hypervisor took', () => {
    expect(parseCoreTime(stat, 1)).toEqual({ busyUs: 190_000, stolenUs: 80_000 });
    expect(parseCoreTime(stat, 10)).toEqual({ busyUs: 50_000, stolenUs: 0 });
  });
});

describe('a list of cores', () => {
  test('names single ones and ranges', () => {
    expect(parseCoreList('0-2,5,8-9\n')).toEqual([0, 1, 2, 5, 8, 9]);
    expect(parseCoreList('')).toEqual([]);
  });

  test('of this process is not empty', () => {
    expect(allowedCores()).not.toEqual([]);
  });
});
