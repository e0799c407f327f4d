import type { Closable } from '../base/index.ts';

/** Reloads when it is asked to, one at a time; however often it is asked meanwhile, it reloads once more. */
export class Reloader implements Closable {
  readonly #reload: () => Promise<void>;
  #isWanted = false;
  #running: Promise<void> | undefined;
  #isClosed = false;

  /** @param reload handles its own errors. */
  constructor(reload: () => Promise<void>) {
    this.#reload = reload;
  }

  request(): void {
    this.#isWanted = true;
    this.#running ??= this.#run();
  }

  /** Waits for the one that is under way; no other begins. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    try {
      while (this.#isWanted && !this.#isClosed) {
        this.#isWanted = false;
        await this.#reload();
      }
    } finally {
      this.#running = undefined;
    }
  }
}
