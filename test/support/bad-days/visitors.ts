import { systemClock, systemCode } from '../../../src/base/index.ts';
import type { RunningOrilla } from '../running-orilla.ts';

/** Between two questions, so that others have the processor, too. */
const PAUSE_MS = 20;
/** Both workers may be dead, and are started again one after the other. */
const SLACK_MS = 10_000;
/** How it ends for those whose worker was killed, or before another one listens. */
const BROKEN: ReadonlySet<string | undefined> = new Set(['ECONNREFUSED', 'ECONNRESET', 'EPIPE']);

/** Somebody who asks a site all the time, and keeps what is wrong with its answers. */
export class Visitors implements AsyncDisposable {
  readonly #over = new AbortController();
  readonly #visiting: Promise<unknown>;
  readonly faults: string[] = [];
  readonly answers = { origin: 0, vm: 0, broken: 0 };
  /** When a process was killed that carries traffic last, on the monotonic clock. */
  disturbedMs = Number.NEGATIVE_INFINITY;

  /** @param orilla the one that runs now, or ran last. */
  constructor(orilla: () => RunningOrilla, origins: readonly string[]) {
    this.#visiting = Promise.all(origins.map((origin) => this.#visit(orilla, origin)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort();
    await this.#visiting;
  }

  async #visit(orilla: () => RunningOrilla, origin: string): Promise<void> {
    while (!this.#over.signal.aborted) {
      const beganMs = systemClock.monotonicMs();
      try {
        const { status, servedBy, body } = await orilla().visit(`${origin}.example`);
        const told = `${status} ${servedBy} ${body}`;
        if (told === '200 origin from the origin\n') this.answers.origin += 1;
        else if (new RegExp(`^200 vm/${origin}[0-9] from the VM\n$`).test(told)) this.answers.vm += 1;
        else this.faults.push(`${origin}: ${told}`);
      } catch (error) {
        const isOurs = this.disturbedMs > beganMs - SLACK_MS;
        if (isOurs && BROKEN.has(systemCode(error))) this.answers.broken += 1;
        else this.faults.push(`${origin}: ${String(error)}`);
      }
      await systemClock.sleep(PAUSE_MS);
    }
  }
}
