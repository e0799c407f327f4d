import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { Clock, Closable } from '../../src/base/index.ts';
import { runCommand } from '../../src/platform/process/index.ts';
import { allowedCores, type CpuTime, cpuTimeOfTree, pidsOfTree } from './cpu-time.ts';
import { findProgram } from './peers.ts';

const START_TIMEOUT_MS = 30_000;
const POLL_MS = 50;
/** The gateway drains for up to 10 s. */
const END_TIMEOUT_MS = 13_000;

/** The command that runs another on one core, and has the kernel end it when this process is killed outright. */
export function pinned(core: number, command: readonly string[]): [program: string, ...args: string[]] {
  const guard = findProgram('setpriv') === undefined ? [] : ['--pdeathsig', 'TERM', 'taskset'];
  return [guard.length > 0 ? 'setpriv' : 'taskset', ...guard, '-c', String(core), ...command];
}

export interface PinnedOptions {
  readonly name: string;
  readonly core: number;
  readonly command: readonly string[];
  readonly cwd: string;
  readonly logFile: string;
}

/** A server in a process of its own that stays on one core, with all its threads and children. */
export class PinnedProgram implements Closable {
  readonly #clock: Clock;
  readonly #name: string;
  readonly #core: number;
  readonly #logFile: string;
  readonly #child: ChildProcess;
  /** Resolves with a sentence when it has ended. */
  readonly ended: Promise<string>;
  #hasEnded = false;

  private constructor(clock: Clock, { name, core, logFile }: PinnedOptions, child: ChildProcess) {
    this.#clock = clock;
    this.#name = name;
    this.#core = core;
    this.#logFile = logFile;
    this.#child = child;
    this.ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.#hasEnded = true;
        resolve(`${name} ended with ${signal ?? `status ${code}`}`);
      });
    });
  }

  /**
   * Resolves when it runs and `isUp`; a look that fails is one that says no.
   *
   * @throws also when one of its processes runs on another core: its time would be no proxy's on a core of its own.
   */
  static async start(
    clock: Clock,
    options: PinnedOptions,
    isUp: (log: string) => Promise<boolean> | boolean,
    signal: AbortSignal,
  ): Promise<PinnedProgram> {
    const output = openSync(options.logFile, 'w');
    const [program, ...args] = pinned(options.core, options.command);
    let child: ChildProcess;
    try {
      // A session of its own: Ctrl-C reaches the bench, which ends its programs in order.
      child = spawn(program, args, {
        cwd: options.cwd,
        detached: true,
        stdio: ['ignore', output, output],
      });
      await new Promise((resolve, reject) =>
        child.once('spawn', () => resolve(undefined)).once('error', reject),
      );
    } finally {
      closeSync(output);
    }
    const started = new PinnedProgram(clock, options, child);
    try {
      await started.#until(isUp, signal);
      started.#checkCore();
      return started;
    } catch (error) {
      await started.close();
      throw error;
    }
  }

  /** Of the process, its threads and its descendants so far, also those in sessions of their own. */
  cpuTime(): CpuTime {
    return cpuTimeOfTree(this.#child.pid ?? 0);
  }

  /** Of its descendants that run now. */
  childPids(): number[] {
    return pidsOfTree(this.#child.pid ?? 0).filter((pid) => pid !== this.#child.pid);
  }

  /**
   * Lets it run before anything else on its core, in real time: who shares the core with a load generator that never sleeps
   * would have to wait for the end of its time slice, which is longer than what is measured. Only root can.
   */
  async runFirst(): Promise<boolean> {
    if (process.getuid?.() !== 0) return false;
    try {
      for (const pid of pidsOfTree(this.#child.pid ?? 0)) {
        await runCommand('chrt', ['--fifo', '--pid', '1', String(pid)], { timeoutMs: 5000 });
      }
      return true;
    } catch {
      // Not allowed here; the measurement is coarser then, and says so.
      return false;
    }
  }

  log(): Promise<string> {
    return readFile(this.#logFile, 'utf8');
  }

  async close(): Promise<void> {
    if (this.#hasEnded) return;
    this.#child.kill('SIGTERM');
    const killing = this.#clock.after(END_TIMEOUT_MS, () => this.#child.kill('SIGKILL'));
    await this.ended;
    killing[Symbol.dispose]();
  }

  #checkCore(): void {
    for (const pid of pidsOfTree(this.#child.pid ?? 0)) {
      const cores = allowedCores(pid);
      if (cores.length === 1 && cores[0] === this.#core) continue;
      throw new Error(
        `${this.#name}: its process ${pid} runs on cores ${cores.join(', ')}, not on ${this.#core} alone`,
      );
    }
  }

  async #until(isUp: (log: string) => Promise<boolean> | boolean, signal: AbortSignal): Promise<void> {
    const deadlineMs = this.#clock.monotonicMs() + START_TIMEOUT_MS;
    const look = async () => isUp(await this.log());
    while (!(await look().catch(() => false))) {
      if (this.#hasEnded || this.#clock.monotonicMs() > deadlineMs) {
        const log = await this.log();
        throw new Error(`${this.#name} did not start: ${log.trim().split('\n').slice(-3).join('\n')}`);
      }
      await this.#clock.sleep(POLL_MS, signal);
    }
  }
}
