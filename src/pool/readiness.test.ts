import { expect, test } from 'vitest';
import { ManualClock } from '../base/index.ts';
import { untilReady } from './readiness.ts';

const ADDRESS = { host: 'guest', port: 80 };

test('a guest that takes long is asked less often, and given more time for each answer', async () => {
  const clock = new ManualClock();
  const probes: { atMs: number; timeoutMs: number }[] = [];
  let isUp = false;
  const ready = untilReady(
    clock,
    async (_clock, _address, _path, timeoutMs) => {
      probes.push({ atMs: clock.monotonicMs(), timeoutMs });
      return isUp;
    },
    ADDRESS,
    '/',
    new AbortController().signal,
  );
  await clock.advance(1000);
  expect(probes.map(({ atMs }) => atMs)).toEqual([0, 150, 300, 450, 600, 750, 900]);
  expect(new Set(probes.map(({ timeoutMs }) => timeoutMs))).toEqual(new Set([400, 450]));
  await clock.advance(29_000);
  const underWay = probes.filter(({ atMs, timeoutMs }) => atMs + timeoutMs > 30_000);
  expect(underWay.length).toBeLessThan(6);
  isUp = true;
  await clock.advance(3000);
  await ready;
});
