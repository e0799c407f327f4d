import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import {
  allowedCores,
  type CpuTime,
  cpuTimeOfTree,
  parseCoreList,
  parseCoreTime,
  parseProcessStat,
  pidsOfTree,
  sumOfTree,
} from './cpu-time.ts';

describe('the processor time of a process', () => {
  test('is read past a name with spaces and brackets, its own apart from the kernel, children that ended included', () => {
    const stat = '42 (a) b (c 1 2) S 7 42 42 0 -1 4194560 100 0 0 0 150 50 20 3 20 0 1 0 12345 1 1';
    expect(parseProcessStat(stat)).toEqual({ parent: 7, userUs: 1_700_000, systemUs: 530_000 });
  });

  test('is that of all its descendants, and of nobody else', () => {
    const processes = new Map([
      [1, { parent: 0, userUs: 1_000_000, systemUs: 1_000_000 }],
      [10, { parent: 1, userUs: 100, systemUs: 400 }],
      [11, { parent: 10, userUs: 20, systemUs: 50 }],
      [12, { parent: 11, userUs: 3, systemUs: 6 }],
      [20, { parent: 1, userUs: 7000, systemUs: 0 }],
    ]);
    expect(sumOfTree(10, processes)).toEqual({ userUs: 123, systemUs: 456 });
    expect(sumOfTree(20, processes)).toEqual({ userUs: 7000, systemUs: 0 });
    expect(sumOfTree(99, processes)).toEqual({ userUs: 0, systemUs: 0 });
  });

  test('of this process grows as it works', () => {
    const sum = ({ userUs, systemUs }: CpuTime) => userUs + systemUs;
    const before = sum(cpuTimeOfTree(process.pid));
    const untilMs = performance.now() + 60;
    while (performance.now() < untilMs) Math.random();
    expect(sum(cpuTimeOfTree(process.pid))).toBeGreaterThan(before);
  });

  test('counts children in sessions of their own too: so run the workers of the gateway', async () => {
    const script =
      'const end = performance.now() + 60; while (performance.now() < end); console.log("done"); setInterval(() => {}, 60_000)';
    const child = spawn(process.execPath, ['-e', script], {
      detached: true,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const exited = once(child, 'exit');
    try {
      await once(child.stdout, 'data');
      expect(pidsOfTree(process.pid)).toContain(child.pid);
      const { userUs } = cpuTimeOfTree(child.pid!);
      expect(userUs).toBeGreaterThan(0);
      expect(cpuTimeOfTree(process.pid).userUs).toBeGreaterThanOrEqual(userUs);
    } finally {
      child.kill('SIGKILL');
      await exited;
    }
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
    expect(allowedCores(process.pid)).toEqual(allowedCores());
  });
});
