import { type Clock, messageOf } from '../base/index.ts';
import type { Log } from '../platform/telemetry/index.ts';

export interface WakeCallsDeps {
  readonly clock: Clock;
  readonly log: Log;
  /** Called when `failure` is another one. */
  readonly onChange: () => void;
}

/** What could not be brought back is not tried again with every request. */
const PAUSE_MS = 10_000;

/** Requests for a VM that sleeps: the first brings it back, the others wait for the same. */
export class WakeCalls {
  readonly #deps: WakeCallsDeps;
  readonly #vm: string;
  readonly #resume: () => Promise<void>;
  #isWaking = false;
  #failure: string | undefined;

  constructor(deps: WakeCallsDeps, vm: string, resume: () => Promise<void>) {
    this.#deps = deps;
    this.#vm = vm;
    this.#resume = resume;
  }

  /** Why it could not be brought back just now. */
  get failure(): string | undefined {
    return this.#failure;
  }

  call(): void {
    if (this.#isWaking || this.#failure !== undefined) return;
    this.#isWaking = true;
    this.#resume()
      .catch((error: unknown) => this.#failed(messageOf(error)))
      .finally(() => {
        this.#isWaking = false;
      });
  }

  #failed(reason: string): void {
    const { clock, log, onChange } = this.#deps;
    this.#failure = reason;
    log.warn({ vm: this.#vm, reason }, 'a suspended VM could not be brought back');
    onChange();
    clock.after(PAUSE_MS, () => {
      this.#failure = undefined;
      onChange();
    });
  }
}
