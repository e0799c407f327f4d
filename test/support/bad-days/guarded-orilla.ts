import { systemClock, systemCode } from '../../../src/base/index.ts';
import { ControlClient } from '../../../src/cli/control-client.ts';
import { type OrillaOptions, RunningOrilla } from '../running-orilla.ts';
import { HostTraces } from './host-traces.ts';

const ASK_AGAIN_MS = 50;
/** How it ends for whoever asked a process that was killed, or is not there yet. */
const UNANSWERED = new Set(['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ENOENT', 'not_running']);

/** An Orilla whose processes are killed, and that is started again each time on the same data folder. */
export class GuardedOrilla implements AsyncDisposable {
  readonly #options: OrillaOptions;
  #current: RunningOrilla;
  #isDown = false;
  /** How often its control process was killed. */
  deaths = 0;
  readonly host: HostTraces;
  /** What was logged by those that were killed. */
  readonly #oldLog: Record<string, unknown>[] = [];

  private constructor(options: OrillaOptions, first: RunningOrilla) {
    this.#options = options;
    this.#current = first;
    this.host = new HostTraces(first.data);
  }

  /** @param options with the folder in which it is. */
  static async start(options: OrillaOptions): Promise<GuardedOrilla> {
    return new GuardedOrilla(options, await RunningOrilla.start(options));
  }

  /** The one that runs, or ran last. */
  get current(): RunningOrilla {
    return this.#current;
  }

  get log(): readonly Record<string, unknown>[] {
    return [...this.#oldLog, ...this.#current.log];
  }

  /** The operator's socket. */
  get control(): ControlClient {
    return new ControlClient(this.#current.data);
  }

  /** @param meanwhile what happens between the death of the one and the start of the other. */
  async killControl(meanwhile: () => void): Promise<void> {
    this.#isDown = true;
    const killed = this.#current;
    killed.signal('SIGKILL');
    await killed.ended;
    this.deaths += 1;
    meanwhile();
    this.#oldLog.push(...killed.log);
    this.#current = await RunningOrilla.start(this.#options);
    this.#isDown = false;
  }

  /** Asks until there is an answer: what a process that was killed did not answer is asked of the next one. */
  async answered<Answer>(ask: (orilla: RunningOrilla) => Promise<Answer>): Promise<Answer> {
    for (;;) {
      const { deaths } = this;
      try {
        return await ask(this.#current);
      } catch (error) {
        const code = systemCode(error) ?? (error as { code?: string }).code ?? '';
        const wasKilled = this.#isDown || this.deaths > deaths;
        if (!wasKilled || !UNANSWERED.has(code)) throw error;
      }
      while (this.#isDown) await systemClock.sleep(ASK_AGAIN_MS);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#current[Symbol.asyncDispose]();
  }
}
