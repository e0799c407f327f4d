import { describe, expect, test } from 'vitest';
import { type CpuProfile, pidOfProfile, topSelfTimes } from './cpu-profile.ts';

const node = (id: number, functionName: string, url = '', lineNumber = -1) => ({
  id,
  callFrame: { functionName, url, lineNumber },
});

const PROFILE: CpuProfile = {
  nodes: [
    node(1, '(root)'),
    node(2, '(idle)'),
    node(3, 'forward', 'file:///home/orilla/src/gateway/plane.ts', 41),
    node(4, '(garbage collector)'),
    // The same function, called from elsewhere.
    node(5, 'forward', 'file:///home/orilla/src/gateway/plane.ts', 41),
    node(6, '', 'node:net', 9),
  ],
  startTime: 1000,
  // From 1010 forward for 30, from 1040 idle for 100, from 1140 forward for 30, 1170 collector for 20, 1190 net for 20
  samples: [3, 2, 5, 4, 6, 2],
  timeDeltas: [10, 30, 100, 30, 20, 20],
};
const ALWAYS = { fromUs: 0, toUs: Number.POSITIVE_INFINITY };

test("the process of a profile stands in its file's name", () => {
  expect(pidOfProfile('CPU.20261121.130026.7842.0.001.cpuprofile')).toBe(7842);
  expect(pidOfProfile('CPU.20261121.130026.7842.0.001.cpuprofile.tmp')).toBeUndefined();
});

describe('self times', () => {
  test('are parts of the time in which something was done, the largest first', () => {
    expect(topSelfTimes([PROFILE], ALWAYS, 12, '/home/orilla')).toEqual([
      { function: 'forward', where: 'src/gateway/plane.ts:42', percent: 60 },
      { function: '(garbage collector)', where: '', percent: 20 },
      { function: '(anonymous)', where: 'node:net:10', percent: 20 },
    ]);
  });

  test('are those within the window', () => {
    const found = topSelfTimes([PROFILE], { fromUs: 1150, toUs: 1180 }, 12, '/');
    expect(found.map(({ function: name, percent }) => [name, percent])).toEqual([
      ['(garbage collector)', 100],
    ]);
  });

  test('add up over threads', () => {
    const [first] = topSelfTimes([PROFILE, PROFILE], ALWAYS, 1, '/home/orilla');
    expect(first).toEqual({ function: 'forward', where: 'src/gateway/plane.ts:42', percent: 60 });
  });

  test('of nothing are none', () => {
    expect(topSelfTimes([], ALWAYS, 12, '/')).toEqual([]);
  });
});
