import { describe, expect, test } from 'vitest';
import { ManualClock } from './clock.ts';
import { CloseStack } from './lifecycle.ts';

describe('CloseStack', () => {
  test('closes in the opposite order, one after the other', async () => {
    const stack = new CloseStack(new ManualClock());
    const closed: string[] = [];
    const held = Promise.withResolvers<void>();
    stack.defer('first', () => void closed.push('first'));
    stack.defer('second', async () => {
      await held.promise;
      closed.push('second');
    });
    const part = { close: async () => void closed.push('third') };
    expect(stack.add('third', part)).toBe(part);
    const closing = stack.close();
    await Promise.resolve();
    held.resolve();
    await closing;
    expect(closed).toEqual(['third', 'second', 'first']);
  });

  test('closes each part once, and whoever calls again waits for the same end', async () => {
    const stack = new CloseStack(new ManualClock());
    let times = 0;
    stack.defer('part', () => {
      times += 1;
      throw new Error('broken');
    });
    const [first, second] = await Promise.allSettled([stack.close(), stack.close()]);
    expect(times).toBe(1);
    expect(first.status).toBe('rejected');
    expect(second).toEqual(first);
  });

  test('names every step that failed and still closes the others', async () => {
    const clock = new ManualClock();
    const stack = new CloseStack(clock);
    let isClosed = false;
    stack.defer('store', () => void (isClosed = true));
    stack.defer('gateway', () => Promise.reject(new Error('a client will not go')));
    stack.defer('pool', () => {
      throw new Error('a guest will not go');
    });
    await expect(stack.close()).rejects.toMatchObject({
      message: 'could not close pool; could not close gateway',
      errors: [{ cause: { message: 'a guest will not go' } }, { cause: { message: 'a client will not go' } }],
    });
    expect(isClosed).toBe(true);
    expect(clock.pendingTimers).toBe(0);
  });

  test('gives up on a step that hangs, names it, and closes the others', async () => {
    const clock = new ManualClock();
    const stack = new CloseStack(clock, 500);
    let isClosed = false;
    stack.defer('store', () => void (isClosed = true));
    stack.defer('gateway', () => new Promise(() => {}));
    const closing = expect(stack.close()).rejects.toMatchObject({
      message: 'could not close gateway',
      errors: [{ cause: { message: 'gateway was not closed within 500 ms' } }],
    });
    await clock.advance(499);
    expect(isClosed).toBe(false);
    await clock.advance(1);
    await closing;
    expect(isClosed).toBe(true);
  });

  test('closes at the end of an "await using"', async () => {
    let isClosed = false;
    {
      await using stack = new CloseStack(new ManualClock());
      stack.defer('part', () => void (isClosed = true));
    }
    expect(isClosed).toBe(true);
  });
});
