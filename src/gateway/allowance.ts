import type { Clock } from '../base/index.ts';

const MINUTE_MS = 60_000;
/** More than there are origins, and than there can be connections. */
const HOLDERS_LIMIT = 10_000;

/** How often something may be done in a minute, by each who does it. What is used up comes back evenly. */
export class Allowance {
  readonly #clock: Clock;
  readonly #perMinute: number;
  /** By holder, when all that it has used will be back: the one that used something longest ago first. */
  readonly #fullAtMs = new Map<string, number>();

  constructor(clock: Clock, perMinute: number) {
    this.#clock = clock;
    this.#perMinute = perMinute;
  }

  /** Uses one. False when none is left. */
  take(holder: string): boolean {
    const nowMs = this.#clock.monotonicMs();
    const fullAtMs = Math.max(nowMs, this.#fullAtMs.get(holder) ?? 0) + MINUTE_MS / this.#perMinute;
    if (fullAtMs - nowMs > MINUTE_MS) return false;
    this.#fullAtMs.delete(holder);
    this.#fullAtMs.set(holder, fullAtMs);
    this.#forget(nowMs);
    return true;
  }

  /** Those who have all of it again; and of too many the one that was quiet longest. */
  #forget(nowMs: number): void {
    for (const [holder, fullAtMs] of this.#fullAtMs) {
      if (fullAtMs > nowMs && this.#fullAtMs.size <= HOLDERS_LIMIT) return;
      this.#fullAtMs.delete(holder);
    }
  }
}
