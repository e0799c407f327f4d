import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { Clock, Closable } from '../base/index.ts';
import { demoError } from './errors.ts';

const START_TIMEOUT_MS = 60_000;
const POLL_MS = 50;

/** A Node program of the demo, with its output in a file. */
export class Program implements Closable {
  readonly #clock: Clock;
  readonly #name: string;
  readonly #logFile: string;
  readonly #child: ChildProcess;
  /** Resolves with a sentence when it has ended. */
  readonly ended: Promise<string>;
  #hasEnded = false;

  private constructor(clock: Clock, name: string, logFile: string, child: ChildProcess) {
    this.#clock = clock;
    this.#name = name;
    this.#logFile = logFile;
    this.#child = child;
    this.ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.#hasEnded = true;
        resolve(`${name} ended with ${signal ?? `status ${code}`}; its output is in ${logFile}`);
      });
    });
  }

  static async start(clock: Clock, name: string, logFile: string, args: readonly string[]): Promise<Program> {
    const output = openSync(logFile, 'w');
    try {
      // A session of its own: Ctrl-C reaches the demo, which ends its programs in order.
      const child = spawn(process.execPath, args, { detached: true, stdio: ['ignore', output, output] });
      await new Promise((resolve, reject) =>
        child.once('spawn', () => resolve(undefined)).once('error', reject),
      );
      return new Program(clock, name, logFile, child);
    } finally {
      closeSync(output);
    }
  }

  /** Waits until `isUp` says so; a look that fails is one that says no. */
  async until(isUp: () => Promise<boolean>): Promise<void> {
    const deadlineMs = this.#clock.monotonicMs() + START_TIMEOUT_MS;
    while (!(await isUp().catch(() => false))) {
      if (this.#hasEnded)
        throw demoError('demo_failed', `${this.#name} did not start: ${await this.#lastLine()}`);
      if (this.#clock.monotonicMs() > deadlineMs) {
        throw demoError(
          'demo_failed',
          `${this.#name} did not start within ${START_TIMEOUT_MS / 1000} s; see ${this.#logFile}`,
        );
      }
      await this.#clock.sleep(POLL_MS);
    }
  }

  async close(): Promise<void> {
    this.#child.kill('SIGTERM');
    await this.ended;
  }

  /** As a crash would end it. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.ended;
  }

  async #lastLine(): Promise<string> {
    const text = await readFile(this.#logFile, 'utf8').catch(() => '');
    return text.trim().split('\n').slice(-3).join('\n') || `see ${this.#logFile}`;
  }
}
