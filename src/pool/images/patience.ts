import type { Clock } from '../../base/index.ts';

/** How long a server may be silent. */
const IDLE_TIMEOUT_MS = 15_000;
/** How long it may be waited for in all, beyond what it earns by sending: one octet now and then is not progress. */
const SLOWNESS_MS = 60_000;
const SLOWEST_BYTES_PER_MS = 8;

/** How long a server is waited for. The time in which its octets are being written does not count. */
export class Patience {
  readonly #clock: Clock;
  readonly #end = new AbortController();
  #leftMs = SLOWNESS_MS;
  #waitsSinceMs = 0;
  #timer: Disposable | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Aborts, with what is to be said of the server, when the patience is at its end. */
  get signal(): AbortSignal {
    return this.#end.signal;
  }

  /** From now on it is the server's turn. */
  wait(): void {
    const limitMs = Math.min(IDLE_TIMEOUT_MS, this.#leftMs);
    const reason = limitMs < IDLE_TIMEOUT_MS ? 'the server is too slow' : 'the server is silent';
    this.#waitsSinceMs = this.#clock.monotonicMs();
    this.#timer = this.#clock.after(limitMs, () => this.#end.abort(new Error(reason)));
  }

  /** It did send; the turn is ours. */
  received(sizeBytes: number): void {
    this.pause();
    const waitedMs = this.#clock.monotonicMs() - this.#waitsSinceMs;
    this.#leftMs = Math.min(SLOWNESS_MS, this.#leftMs - waitedMs + sizeBytes / SLOWEST_BYTES_PER_MS);
  }

  /** It is not its turn, whatever became of it. */
  pause(): void {
    this.#timer?.[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.pause();
  }
}
