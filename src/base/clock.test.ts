import { describe, expect, test } from 'vitest';
import { ManualClock, systemClock } from './clock.ts';

describe('ManualClock', () => {
  test('runs what falls due in the order of its time, and what is due together in the order of its asking', async () => {
    const clock = new ManualClock(1000);
    const ran: string[] = [];
    const note = (name: string) => () => void ran.push(`${name} at ${clock.nowMs()}`);
    clock.after(30, note('late'));
    clock.after(10, note('early'));
    clock.after(30, note('late too'));
    clock.after(31, note('beyond'));
    await clock.advance(30);
    expect(ran).toEqual(['early at 1010', 'late at 1030', 'late too at 1030']);
    expect(clock.pendingTimers).toBe(1);
  });

  test('runs a timer that another one sets within the same advance', async () => {
    const clock = new ManualClock();
    const ran: number[] = [];
    const again = () => {
      ran.push(clock.monotonicMs());
      clock.after(10, again);
    };
    clock.after(10, again);
    await clock.advance(35);
    expect(ran).toEqual([10, 20, 30]);
    expect(clock.nowMs()).toBe(35);
  });

  test('does not run what was disposed of, also by a timer that is due at the same time', async () => {
    const clock = new ManualClock();
    const ran: string[] = [];
    clock.after(5, () => second[Symbol.dispose]());
    const second = clock.after(5, () => void ran.push('second'));
    await clock.advance(10);
    expect(ran).toEqual([]);
    expect(clock.pendingTimers).toBe(0);
  });

  test('lets promises go on between two timers', async () => {
    const clock = new ManualClock();
    const ran: string[] = [];
    const walk = async () => {
      await clock.sleep(10);
      ran.push('step');
      await clock.sleep(10);
      ran.push('step');
    };
    const walking = walk();
    clock.after(15, () => void ran.push('timer'));
    await clock.advance(20);
    expect(ran).toEqual(['step', 'timer', 'step']);
    await walking;
  });
});

describe.each([
  { name: 'ManualClock', clock: new ManualClock() },
  { name: 'systemClock', clock: systemClock },
])('the sleep of $name', ({ clock }) => {
  test('rejects with the reason of an abort and leaves no timer', async () => {
    const abort = new AbortController();
    const sleeping = clock.sleep(3_600_000, abort.signal);
    abort.abort(new Error('enough'));
    await expect(sleeping).rejects.toThrow('enough');
    if (clock instanceof ManualClock) expect(clock.pendingTimers).toBe(0);
  });

  test('does not begin under a signal that is aborted, and makes an error of a reason that is none', async () => {
    await expect(clock.sleep(3_600_000, AbortSignal.abort('no error'))).rejects.toMatchObject({
      message: 'aborted',
      cause: 'no error',
    });
  });

  test('ends, and is deaf to an abort that comes later', async () => {
    const abort = new AbortController();
    const sleeping = clock.sleep(0, abort.signal);
    if (clock instanceof ManualClock) await clock.advance(0);
    await sleeping;
    abort.abort(new Error('late'));
    await expect(sleeping).resolves.toBeUndefined();
  });
});
