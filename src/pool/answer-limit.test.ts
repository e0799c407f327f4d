import { beforeEach, describe, expect, test } from 'vitest';
import { ManualClock } from '../base/index.ts';
import { AnswerLimit } from './answer-limit.ts';

describe("the limit to a guest's first answer", () => {
  let clock: ManualClock;
  let limit: AnswerLimit;
  beforeEach(() => {
    clock = new ManualClock();
    limit = new AnswerLimit(clock, 1000);
  });

  test('counts from when the machine is about to be started, anew for a second machine', async () => {
    await clock.advance(5000);
    limit.begin();
    await clock.advance(900);
    limit.begin();
    await clock.advance(900);
    expect(limit.signal.aborted).toBe(false);
    await clock.advance(100);
    expect(limit.signal.reason).toMatchObject({
      code: 'machine_failed',
      message: 'the guest did not answer within 1 s',
    });
  });

  test('does not count once it is over', async () => {
    limit.begin();
    limit[Symbol.dispose]();
    await clock.advance(5000);
    expect(limit.signal.aborted).toBe(false);
  });

  test('is over at once when the machine ended, and says why', () => {
    limit.begin();
    limit.giveUp('QEMU ended with status 1');
    expect(limit.signal.reason).toMatchObject({ message: 'QEMU ended with status 1' });
  });
});
