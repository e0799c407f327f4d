import type { Clock } from './clock.ts';

/** Something that runs and can be ended. `close` may be called twice; the second call waits for the first. */
export interface Closable {
  close(): Promise<void>;
}

/**
 * What a part has started, in order, so that it can be ended in the opposite order, also when the start fails half way.
 *
 * Each step is bounded in time: one that hangs is named in the error and does not keep the others from being closed.
 */
export class CloseStack implements Closable, AsyncDisposable {
  readonly #clock: Clock;
  readonly #stepTimeoutMs: number;
  readonly #steps: { name: string; close: () => Promise<void> | void }[] = [];
  #closing: Promise<void> | undefined;

  constructor(clock: Clock, stepTimeoutMs = 15_000) {
    this.#clock = clock;
    this.#stepTimeoutMs = stepTimeoutMs;
  }

  /** Closes `part` when its turn comes. Returns it, so that a start reads as one line. */
  add<Part extends Closable>(name: string, part: Part): Part {
    this.defer(name, () => part.close());
    return part;
  }

  defer(name: string, close: () => Promise<void> | void): void {
    this.#steps.push({ name, close });
  }

  /** @throws AggregateError naming each step that failed or took longer than its time. */
  close(): Promise<void> {
    this.#closing ??= this.#closeAll();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Closes what a failed start had started, then throws `cause`: that is what people want to know. */
  async failWith(cause: unknown): Promise<never> {
    await this.close().catch(() => undefined);
    throw cause;
  }

  async #closeAll(): Promise<void> {
    const failures: Error[] = [];
    for (const step of this.#steps.toReversed()) {
      try {
        await this.#bounded(step.name, async () => step.close());
      } catch (cause) {
        failures.push(new Error(`could not close ${step.name}`, { cause }));
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, failures.map((f) => f.message).join('; '));
  }

  async #bounded(name: string, run: () => Promise<void>): Promise<void> {
    const done = new AbortController();
    const tooLong = this.#clock.sleep(this.#stepTimeoutMs, done.signal).then(() => {
      throw new Error(`${name} was not closed within ${this.#stepTimeoutMs} ms`);
    });
    try {
      await Promise.race([run(), tooLong]);
    } finally {
      done.abort();
    }
  }
}
