/**
 * Remembers which nonces were seen, so that a recorded message is not believed a second time. Bounded: at most twice
 * `limit` nonces are kept, each for at least `lifetimeMs` unless more than `limit` come within that time.
 */
export class NonceMemory {
  readonly #lifetimeMs: number;
  readonly #limit: number;
  #recent = new Set<string>();
  #older = new Set<string>();
  #turnedAtMs = 0;

  constructor(options: { readonly lifetimeMs: number; readonly limit: number }) {
    this.#lifetimeMs = options.lifetimeMs;
    this.#limit = options.limit;
  }

  /** True when the nonce was not seen before. */
  isNew(nonce: string, nowMs: number): boolean {
    if (nowMs - this.#turnedAtMs >= this.#lifetimeMs || this.#recent.size >= this.#limit) {
      this.#older = this.#recent;
      this.#recent = new Set();
      this.#turnedAtMs = nowMs;
    }
    if (this.#recent.has(nonce) || this.#older.has(nonce)) return false;
    this.#recent.add(nonce);
    return true;
  }
}
