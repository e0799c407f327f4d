/** So many failures one after the other, and the server is given a rest. */
const FAILURE_LIMIT = 5;
const FIRST_REST_MS = 500;
const LONGEST_REST_MS = 30_000;

/**
 * Keeps requests from a server that fails them all, so that they are not held up by it and it can recover. After each rest,
 * twice as long as the one before, one request may try.
 */
export class CircuitBreaker {
  #failures = 0;
  #openUntilMs = 0;
  #restMs = FIRST_REST_MS;

  /** Whether a request may be sent now. One that may is one that is told to `succeeded` or `failed`. */
  allows(nowMs: number): boolean {
    if (this.#failures < FAILURE_LIMIT) return true;
    if (nowMs < this.#openUntilMs) return false;
    // The trial: others wait until it has ended, or another rest is over.
    this.#openUntilMs = nowMs + this.#restMs;
    return true;
  }

  succeeded(): void {
    this.#failures = 0;
    this.#restMs = FIRST_REST_MS;
  }

  failed(nowMs: number): void {
    this.#failures += 1;
    if (this.#failures < FAILURE_LIMIT) return;
    if (this.#failures > FAILURE_LIMIT) this.#restMs = Math.min(LONGEST_REST_MS, this.#restMs * 2);
    this.#openUntilMs = nowMs + this.#restMs;
  }
}
