import type { Clock, Closable } from '../../base/index.ts';
import type { Caller, CommandOutcome } from './command.ts';
import type { LineEvent } from './line-editor.ts';

/** The other side of a session. */
export interface Terminal {
  /** Line ends are `\n`; the way to the terminal makes of them what it needs. */
  write(text: string): void;
  /** Ends the session, with a program's exit status. */
  end(status: number): void;
}

export interface CommandSessionDeps {
  readonly clock: Clock;
  readonly terminal: Terminal;
  readonly run: (line: string, caller: Caller, signal: AbortSignal) => Promise<CommandOutcome>;
}

export interface CommandSessionOptions {
  readonly caller: Caller;
  /** Whether what is typed is to be shown: the terminal does not do so itself. */
  readonly echoes: boolean;
}

const IDLE_LIMIT_MS = 5 * 60_000;
/** Lines that are typed while a command runs. */
const AHEAD_LIMIT = 16;
export const GREETING = 'Orilla: commands for the VMs of your origin. "help" lists them, "exit" ends.\n';

/** One command after the other, as somebody types them. */
export class CommandSession implements Closable {
  readonly #deps: CommandSessionDeps;
  readonly #options: CommandSessionOptions;
  readonly #ahead: string[] = [];
  readonly #closing = new AbortController();
  #idle: Disposable | undefined;
  #isRunning = false;
  #hasEnded = false;
  #lastStatus = 0;

  constructor(deps: CommandSessionDeps, options: CommandSessionOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  start(): void {
    this.#deps.terminal.write(GREETING);
    this.#prompt();
  }

  /** Takes what was typed. */
  take(event: LineEvent): void {
    if (this.#closing.signal.aborted || this.#hasEnded) return;
    this.#watch();
    switch (event.kind) {
      case 'line':
        if (this.#ahead.push(event.line) > AHEAD_LIMIT) this.#end('too many lines at once');
        else void this.#runAhead();
        break;
      case 'echo':
        if (this.#options.echoes) this.#deps.terminal.write(event.text);
        break;
      case 'too_long':
        this.#end('the line is too long');
        break;
      case 'end':
        this.finish();
        break;
    }
  }

  /** Nothing more will be typed; what was typed is still done. */
  finish(): void {
    this.#hasEnded = true;
    void this.#runAhead();
  }

  /** Gives up waiting for what is under way. */
  async close(): Promise<void> {
    this.#closing.abort(new Error('the session was closed'));
    this.#idle?.[Symbol.dispose]();
  }

  async #runAhead(): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    const { signal } = this.#closing;
    for (let line = this.#ahead.shift(); line !== undefined && !signal.aborted; line = this.#ahead.shift()) {
      if (/^\s*(?:exit|quit|logout)\s*$/.test(line)) {
        this.#end();
        break;
      }
      if (line.trim() !== '') await this.#run(line);
      if (!this.#hasEnded) this.#prompt();
    }
    this.#isRunning = false;
    if (this.#hasEnded && this.#ahead.length === 0) this.#end();
  }

  async #run(line: string): Promise<void> {
    const { terminal, run } = this.#deps;
    const { output, errors, status } = await run(line, this.#options.caller, this.#closing.signal);
    if (this.#closing.signal.aborted) return;
    terminal.write(output + errors);
    this.#lastStatus = status;
    this.#watch();
  }

  #prompt(): void {
    this.#watch();
    this.#deps.terminal.write(`${this.#options.caller.origin}> `);
  }

  /** Ends a session in which nothing is typed and nothing runs. */
  #watch(): void {
    this.#idle?.[Symbol.dispose]();
    this.#idle = this.#deps.clock.after(IDLE_LIMIT_MS, () => {
      if (!this.#isRunning) this.#end('nothing was typed for 5 min');
    });
  }

  #end(reason?: string): void {
    if (this.#closing.signal.aborted) return;
    void this.close();
    if (reason !== undefined) this.#deps.terminal.write(`\n${reason}\n`);
    this.#deps.terminal.end(reason === undefined ? this.#lastStatus : 1);
  }
}
