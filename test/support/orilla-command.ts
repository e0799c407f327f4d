import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { entryPath } from '../../src/platform/process/index.ts';

/** How a run of the command ended. `code` is null when a signal ended it. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Runs it as this user, without any group's rights. Only root can. */
  readonly uid?: number;
}

/** The command `orilla` in a process of its own, all that it says collected. */
export class OrillaCommand {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  stdout = '';
  stderr = '';

  constructor(args: readonly string[], { cwd, env, uid }: CommandOptions = {}) {
    this.child = spawn(process.execPath, [entryPath('cli/main'), ...args], {
      cwd,
      env: { ...process.env, NO_COLOR: '1', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(uid !== undefined && { uid, gid: uid }),
    });
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
    });
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    this.ended = once(this.child, 'close').then(([code, signal]) => ({
      code: code as number | null,
      signal: signal as NodeJS.Signals | null,
      stdout: this.stdout,
      stderr: this.stderr,
    }));
  }
}

/** Runs `orilla` to its end. */
export function orilla(...args: string[]): Promise<Ended> {
  return new OrillaCommand(args).ended;
}

/** A stack trace, or an error as Node prints it: nothing that a user should see. */
export const STACK_TRACE = /^\s+at .*:\d+:\d+\)?$|node:internal/m;
