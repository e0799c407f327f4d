import { type Clock, formatDuration } from '../base/index.ts';
import { poolError } from './errors.ts';

/** How long a guest may take to its first answer: `signal` aborts when it took longer, or cannot come any more. */
export class AnswerLimit implements Disposable {
  readonly #clock: Clock;
  readonly #limitMs: number;
  readonly #givenUp = new AbortController();
  #timer: Disposable | undefined;

  constructor(clock: Clock, limitMs: number) {
    this.#clock = clock;
    this.#limitMs = limitMs;
  }

  get signal(): AbortSignal {
    return this.#givenUp.signal;
  }

  /** Begins to count, or begins anew. */
  begin(): void {
    this[Symbol.dispose]();
    this.#timer = this.#clock.after(this.#limitMs, () =>
      this.giveUp(`the guest did not answer within ${formatDuration(this.#limitMs)}`),
    );
  }

  giveUp(reason: string): void {
    this.#givenUp.abort(poolError('machine_failed', reason));
  }

  /** Counts no longer. */
  [Symbol.dispose](): void {
    this.#timer?.[Symbol.dispose]();
  }
}
