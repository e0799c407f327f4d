import type { Clock } from '../../../base/index.ts';

/** A wait that does not keep our process alive, and ends when the signal aborts. */
export function waitAside(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      timer[Symbol.dispose]();
      signal.removeEventListener('abort', finish);
      resolve();
    };
    const timer = clock.after(delayMs, finish);
    signal.addEventListener('abort', finish, { once: true });
    if (signal.aborted) finish();
  });
}
