/** Time, handed in. Only `base/` touches the real clock, so tests never sleep. */
export interface Clock {
  /** Milliseconds since 1970-01-01T00:00Z; may jump when the machine's time is set. */
  nowMs(): number;
  /** Milliseconds since an arbitrary start; never jumps. For durations. */
  monotonicMs(): number;
  /** Calls `run` once after `delayMs`, unless disposed of first. Does not keep the process alive. */
  after(delayMs: number, run: () => void): Disposable;
  /** Resolves after `delayMs`; rejects with the signal's reason when it is aborted first. */
  sleep(delayMs: number, signal?: AbortSignal): Promise<void>;
}

/** A signal that aborts after `delayMs`, with `reason`. */
export function deadline(
  clock: Clock,
  delayMs: number,
  reason = `not done within ${delayMs} ms`,
): AbortSignal {
  const controller = new AbortController();
  clock.after(delayMs, () => controller.abort(new Error(reason)));
  return controller.signal;
}

declare function setTimeout(run: () => void, delayMs: number): unknown;
declare function clearTimeout(timer: unknown): void;

function sleepWith(after: Clock['after'], delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(asError(signal.reason));
      return;
    }
    const onAbort = () => {
      timer[Symbol.dispose]();
      reject(asError(signal?.reason));
    };
    const timer = after(delayMs, () => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    });
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

const asError = (reason: unknown): Error =>
  reason instanceof Error ? reason : new Error('aborted', { cause: reason });

/** The machine's own clock. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs);
    // Node's timers keep a process alive unless told not to; a browser's are numbers.
    (timer as { unref?: () => void }).unref?.();
    return { [Symbol.dispose]: () => clearTimeout(timer) };
  },
  sleep: (delayMs, signal) => sleepWith(afterWaiting, Math.max(0, delayMs), signal),
};

const afterWaiting: Clock['after'] = (delayMs, run) => {
  const timer = setTimeout(run, delayMs);
  return { [Symbol.dispose]: () => clearTimeout(timer) };
};

/** A clock that stands still until it is told to advance: for tests and simulations. */
export class ManualClock implements Clock {
  #nowMs: number;
  #setByMs = 0;
  readonly #pending = new Set<{ dueMs: number; run: () => void }>();

  constructor(startMs = 0) {
    this.#nowMs = startMs;
  }

  nowMs(): number {
    return this.#nowMs + this.#setByMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  /** Sets the time of day forth or back, as an operator does or NTP; timers do not notice. */
  set(byMs: number): void {
    this.#setByMs += byMs;
  }

  after(delayMs: number, run: () => void): Disposable {
    const entry = { dueMs: this.#nowMs + delayMs, run };
    this.#pending.add(entry);
    return { [Symbol.dispose]: () => void this.#pending.delete(entry) };
  }

  sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    return sleepWith((afterMs, run) => this.after(afterMs, run), delayMs, signal);
  }

  /** How many timers are waiting. */
  get pendingTimers(): number {
    return this.#pending.size;
  }

  /** Moves time forward and runs what falls due, in order; lets promises settle between two timers. */
  async advance(byMs: number): Promise<void> {
    const endMs = this.#nowMs + byMs;
    for (;;) {
      await settle();
      const next = [...this.#pending].filter((e) => e.dueMs <= endMs).sort((a, b) => a.dueMs - b.dueMs)[0];
      if (!next) break;
      this.#nowMs = Math.max(this.#nowMs, next.dueMs);
      this.#pending.delete(next);
      next.run();
    }
    this.#nowMs = endMs;
    await settle();
  }
}

/** Lets every promise that is already due run its callbacks. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
}
