import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import {
  type CodedError,
  defineErrors,
  formatBytes,
  formatDuration,
  messageOf,
  systemClock,
} from '../../base/index.ts';

const commandError = defineErrors({ command_failed: 500, command_missing: 503, command_timeout: 504 });

export interface CommandOptions {
  readonly cwd?: string;
  /** The whole environment of the command; ours when absent. */
  readonly env?: NodeJS.ProcessEnv;
  /** Ends the command; the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
  /** A command that writes more than this to `stdout` is ended and has failed. Not for `stdoutFile`. */
  readonly maxOutputBytes?: number;
  /** Standard output goes into this file, which is overwritten, and `stdout` stays empty. */
  readonly stdoutFile?: string;
}

export interface CommandOutput {
  readonly stdout: string;
  /** The last 16 KiB. */
  readonly stderr: string;
}

const DEFAULT_OUTPUT_BYTES = 8 * 2 ** 20;
const STDERR_TAIL_BYTES = 16 * 1024;
/** As much of standard error as a person reads in a message. */
const STDERR_LINES_TOLD = 5;

/**
 * Runs a program to its end, without a shell and with nothing on standard input.
 *
 * @example
 * const { stdout } = await runCommand('apt-cache', ['show', 'busybox-static'], { timeoutMs: 30_000 });
 * @throws `command_missing` when there is no such program, `command_timeout` after `timeoutMs`, `command_failed` when it
 *   ends with another code than 0; the signal's reason when that aborts; the system's error when `stdoutFile` cannot be
 *   written.
 */
export async function runCommand(
  command: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandOutput> {
  options.signal?.throwIfAborted();
  const child = spawn(command, args, {
    cwd: options.cwd,
    env: options.env ?? process.env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const stop = (error: unknown) => end(child, error);
  const onAbort = () => stop(options.signal?.reason);
  options.signal?.addEventListener('abort', onAbort, { once: true });
  const onTimeout = () =>
    stop(
      commandError('command_timeout', `${command} did not end in ${formatDuration(options.timeoutMs ?? 0)}`),
    );
  const timer = options.timeoutMs === undefined ? undefined : systemClock.after(options.timeoutMs, onTimeout);
  try {
    const [stdout, stderr, exit] = await Promise.all([
      readOutput(child.stdout, command, options).catch((error: unknown) => {
        stop(error);
        return '';
      }),
      readTail(child.stderr),
      exitOf(child, command, options.cwd),
    ]);
    if (stopReasons.has(child)) throw stopReasons.get(child);
    if (exit !== 0) throw failure(command, args, exit, stderr);
    return { stdout, stderr };
  } finally {
    options.signal?.removeEventListener('abort', onAbort);
    timer?.[Symbol.dispose]();
  }
}

/** Why we ended a child; the first reason counts. */
const stopReasons = new WeakMap<ChildProcess, unknown>();

function end(child: ChildProcess, reason: unknown): void {
  if (!stopReasons.has(child)) stopReasons.set(child, reason);
  child.kill('SIGKILL');
  // A grandchild may hold the pipes open for as long as it likes; what it has to say is of no more interest.
  child.stdout?.destroy();
  child.stderr?.destroy();
}

/** The exit code, or the name of the signal that ended it. */
function exitOf(child: ChildProcess, command: string, cwd: string | undefined): Promise<number | string> {
  return new Promise((resolve, reject) => {
    child.once('exit', (code, signal) => resolve(code ?? signal ?? 'an unknown cause'));
    child.once('error', (cause) => {
      const isMissing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
      // spawn(2) says ENOENT for a missing working directory too.
      const where = cwd === undefined ? 'in the PATH' : `in the PATH, or no folder ${cwd}`;
      reject(
        isMissing
          ? commandError('command_missing', `there is no program "${command}" ${where}`, cause)
          : commandError('command_failed', `${command} could not be run: ${messageOf(cause)}`, cause),
      );
    });
  });
}

async function readOutput(stream: Readable, command: string, options: CommandOptions): Promise<string> {
  if (options.stdoutFile !== undefined) {
    await pipeline(stream, createWriteStream(options.stdoutFile));
    return '';
  }
  const limitBytes = options.maxOutputBytes ?? DEFAULT_OUTPUT_BYTES;
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    sizeBytes += chunk.length;
    if (sizeBytes > limitBytes) {
      throw commandError('command_failed', `${command} wrote more than ${formatBytes(limitBytes)}`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

async function readTail(stream: Readable): Promise<string> {
  let tail = Buffer.alloc(0);
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      tail = Buffer.concat([tail, chunk]).subarray(-STDERR_TAIL_BYTES);
    }
  } catch {
    // We closed it because the command was ended; the reason for that is the error that is told.
  }
  return tail.toString('utf8');
}

function failure(
  command: string,
  args: readonly string[],
  exit: number | string,
  stderr: string,
): CodedError {
  const lines = stderr.trim().split('\n').slice(-STDERR_LINES_TOLD).join('\n').slice(-1000);
  const ended = typeof exit === 'number' ? `ended with code ${exit}` : `was ended by ${exit}`;
  const call = [command, ...args].join(' ').slice(0, 300);
  return commandError('command_failed', `"${call}" ${ended}${lines === '' ? '' : `: ${lines}`}`);
}
