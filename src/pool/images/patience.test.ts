import { expect, test } from 'vitest';
import { ManualClock } from '../../base/index.ts';
import { Patience } from './patience.ts';

test('patience lasts as long as a server sends at 8 KiB a second, and does not grow while it sends faster', async () => {
  const clock = new ManualClock();
  const patience = new Patience(clock);
  for (let second = 0; second < 600; second += 1) {
    patience.wait();
    await clock.advance(1000);
    patience.received(second < 300 ? 1_000_000 : 8000);
  }
  expect(patience.signal.aborted).toBe(false);
  for (let second = 0; second < 60 && !patience.signal.aborted; second += 1) {
    patience.wait();
    await clock.advance(1000);
    patience.received(0);
  }
  expect(patience.signal.aborted).toBe(true);
  expect(clock.pendingTimers).toBe(0);
});
