// Runs other programs: passes signals on, keeps or shows what they print, says how long things take.
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import os from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

/** Something for the person at the terminal to read, without a stack. */
export class Failure extends Error {}

const running = new Set();
const lastSignalMs = {};
let endedBy;

// A child has a process group of its own, so that it gets each signal from here and only from here. Ctrl-C on a
// terminal comes here twice (from the terminal, and passed on by npm), and a second SIGINT ends a program that is
// still draining.
const SIGNAL_REPEAT_MS = 500;

export function passOnSignals() {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => {
      const nowMs = Date.now();
      const isRepeat = nowMs - (lastSignalMs[signal] || 0) < SIGNAL_REPEAT_MS;
      lastSignalMs[signal] = nowMs;
      if (isRepeat) return;
      endedBy = signal;
      if (running.size === 0) process.exit(exitCodeOf(signal));
      // SIGHUP means that the terminal has gone; to a service it would mean "read the configuration again".
      for (const child of running) child.kill(signal === 'SIGHUP' ? 'SIGTERM' : signal);
    });
  }
}

export function exitCodeOf(signal) {
  return 128 + os.constants.signals[signal];
}

/** Runs a program in the checkout to its end. Resolves with its exit code. */
export function run(command, args, { env = process.env, stdio = 'inherit', onOutput } = {}) {
  if (endedBy) process.exit(exitCodeOf(endedBy));
  // Where the system can, the child is told to end when this process is killed outright.
  const guard = process.platform === 'linux' && onPath('setpriv') ? ['setpriv', '--pdeathsig', 'TERM'] : [];
  const [program, ...rest] = [...guard, command, ...args];
  return new Promise((resolve, reject) => {
    const child = spawn(program, rest, { cwd: ROOT, env, stdio, detached: true });
    running.add(child);
    if (onOutput) for (const stream of [child.stdout, child.stderr]) stream.on('data', onOutput);
    child.on('error', (error) => {
      running.delete(child);
      reject(new Failure(`${command} could not be started: ${error.message}`));
    });
    child.on('close', (code, signal) => {
      running.delete(child);
      resolve(code === null ? exitCodeOf(signal) : code);
    });
  });
}

/** The same, keeping what it prints instead of showing it. */
export async function runQuietly(command, args, env) {
  const chunks = [];
  const stdio = ['ignore', 'pipe', 'pipe'];
  const code = await run(command, args, { env, stdio, onOutput: (chunk) => chunks.push(chunk) });
  if (endedBy) process.exit(exitCodeOf(endedBy));
  return { code, output: Buffer.concat(chunks).toString().trimEnd() };
}

/** Says what is being done while it is done, and how long it took. `work` resolves with false when it failed. */
export async function progress(what, work) {
  const startMs = Date.now();
  process.stderr.write(`· ${what} …  `);
  const result = await work();
  process.stderr.write(`${result === false ? 'failed' : 'done'} (${seconds(startMs)})\n`);
  return result;
}

export function seconds(startMs) {
  return `${((Date.now() - startMs) / 1000).toFixed(1)} s`;
}

export function onPath(program) {
  return (process.env.PATH || '').split(delimiter).some((folder) => fs.existsSync(join(folder, program)));
}

/** The environment in which `node` is the Node that runs the sources. */
export function withNode(node) {
  return { ...process.env, PATH: `${dirname(node)}${delimiter}${process.env.PATH || ''}` };
}
