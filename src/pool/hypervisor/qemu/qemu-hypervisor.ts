import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { mkdir, open, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, deadline, systemCode } from '../../../base/index.ts';
import { endProcess, processesIn } from '../../../platform/process/index.ts';
import type { Log } from '../../../platform/telemetry/index.ts';
import { poolError } from '../../errors.ts';
import type { StoredImage } from '../../images/image-store.ts';
import type { Accelerator, Hypervisor, Machine, MachineSpec } from '../hypervisor.ts';
import { forwardedPorts, NAME_PREFIX, qemuArguments, qemuProgram, RUN_FILES } from './command-line.ts';
import { guestClockOption } from './guest-clock.ts';
import { QmpClient } from './qmp.ts';

/** sockaddr_un.sun_path has 108 octets, one of them the final NUL (unix(7)). */
const SOCKET_PATH_LIMIT = 107;
const CONSOLE_TAIL_BYTES = 64 * 1024;
/** From spawn to an answering monitor; 60 ms on a quiet machine. */
const MONITOR_TIMEOUT_MS = 20_000;

export interface QemuDeps {
  readonly clock: Clock;
  readonly log: Log;
  /** Which accelerator to use for this image's kernel. */
  readonly chooseAccelerator: (image: StoredImage, signal: AbortSignal) => Promise<Accelerator>;
}

/** Machines as QEMU processes of their own, each in a run directory below one folder. */
export class QemuHypervisor implements Hypervisor {
  readonly #deps: QemuDeps;
  readonly #runFolder: string;

  constructor(deps: QemuDeps, runFolder: string) {
    this.#deps = deps;
    this.#runFolder = runFolder;
  }

  async start(spec: MachineSpec, signal: AbortSignal): Promise<Machine> {
    const directory = this.#directoryOf(spec.id);
    const monitorPath = join(directory, RUN_FILES.monitor);
    if (Buffer.byteLength(monitorPath) > SOCKET_PATH_LIMIT) {
      throw poolError(
        'machine_failed',
        `${monitorPath} is too long for a Unix socket (${SOCKET_PATH_LIMIT} octets); use a data folder with a shorter path`,
      );
    }
    const accelerator = await this.#deps.chooseAccelerator(spec.image, signal);
    let child: ChildProcess | undefined;
    try {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      await this.#makeDisk(directory, spec.configuration.diskBytes);
      const startedAtMs = this.#deps.clock.monotonicMs();
      child = await this.#spawn(spec, accelerator, directory);
      const machine = await this.#connect(spec, child, directory, signal);
      return { ...machine, accelerator, startedAtMs };
    } catch (error) {
      if (child) await endAtOnce(child);
      const lastWords = await this.#lastWords(directory);
      await rm(directory, { recursive: true, force: true });
      signal.throwIfAborted();
      if (systemCode(error) === 'ENOSPC') throw poolError('disk_full', `no room in ${directory}`, error);
      if (lastWords !== '') throw poolError('machine_failed', `QEMU: ${lastWords}`, error);
      throw error;
    }
  }

  /** A stray is told by what it is: a QEMU of ours that works in one of our run directories. No record can be lost. */
  async endStrays(): Promise<number> {
    const strays = processesIn(this.#runFolder, (argv) => argv.some((arg) => arg.startsWith(NAME_PREFIX)));
    await Promise.all(strays.map((identity) => endProcess(this.#deps.clock, identity)));
    await rm(this.#runFolder, { recursive: true, force: true });
    return strays.length;
  }

  consoleTail(id: string): Promise<string> {
    return readTail(join(this.#directoryOf(id), RUN_FILES.console));
  }

  #directoryOf(id: string): string {
    return join(this.#runFolder, id);
  }

  async #makeDisk(directory: string, sizeBytes: number): Promise<void> {
    if (sizeBytes === 0) return;
    const path = join(directory, RUN_FILES.disk);
    await writeFile(path, '', { mode: 0o600 });
    await truncate(path, sizeBytes);
  }

  /** Starts QEMU as the leader of a session of its own, so that Ctrl-C in a terminal reaches us and not the guests. */
  async #spawn(spec: MachineSpec, accelerator: Accelerator, directory: string): Promise<ChildProcess> {
    const program = qemuProgram(spec.image.manifest.architecture);
    const clockOption = await guestClockOption();
    const errors = openSync(join(directory, RUN_FILES.errors), 'w');
    try {
      const child = spawn(program, qemuArguments(spec, accelerator, clockOption), {
        cwd: directory,
        detached: true,
        stdio: ['ignore', errors, errors],
      });
      await new Promise<void>((resolve, reject) => child.once('spawn', resolve).once('error', reject));
      child.unref();
      return child;
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error;
      throw poolError(
        'hypervisor_missing',
        `${program} is not installed; on Debian: apt-get install qemu-system-x86`,
        error,
      );
    } finally {
      closeSync(errors);
    }
  }

  async #connect(
    spec: MachineSpec,
    child: ChildProcess,
    directory: string,
    signal: AbortSignal,
  ): Promise<Omit<Machine, 'accelerator' | 'startedAtMs'>> {
    const ended = new AbortController();
    const exited = new Promise<string>((resolve) => {
      child.once('exit', (code, killer) => {
        ended.abort(new Error('QEMU ended'));
        resolve(killer === null ? `QEMU ended with status ${code}` : `QEMU was ended by ${killer}`);
      });
    });
    const { clock } = this.#deps;
    const tooLate = deadline(
      clock,
      MONITOR_TIMEOUT_MS,
      `no answer within ${MONITOR_TIMEOUT_MS} ms from QEMU's monitor`,
    );
    const waiting = AbortSignal.any([signal, ended.signal, tooLate]);
    const monitor = await QmpClient.connect(clock, join(directory, RUN_FILES.monitor), waiting);
    const usernet = await monitor.execute('human-monitor-command', { 'command-line': 'info usernet' });
    monitor.close();
    const [first, ...others] = forwardedPorts(String(usernet)).map((port) => ({ host: '127.0.0.1', port }));
    if (!first) throw poolError('machine_failed', 'QEMU does not tell its forwarded ports');

    const gone = exited.then(async (reason) => {
      const lastWords = await this.#lastWords(directory);
      await rm(directory, { recursive: true, force: true }).catch((err: unknown) =>
        this.#deps.log.warn({ err, directory }, 'run directory not removed'),
      );
      return lastWords === '' ? reason : `${reason}: ${lastWords}`;
    });
    return {
      id: spec.id,
      pid: child.pid ?? 0,
      addresses: [first, ...others],
      exited: gone,
      stop: async () => {
        await endAtOnce(child);
        await gone;
      },
    };
  }

  async #lastWords(directory: string): Promise<string> {
    const lines = (await readTail(join(directory, RUN_FILES.errors))).trim().split('\n');
    return lines.slice(-3).join(' ').slice(0, 500);
  }
}

/** Resolves when it is gone: until then it holds its memory, its port and its directory. */
async function endAtOnce(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  // While we wait for its end it keeps this process alive.
  child.ref();
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

async function readTail(path: string): Promise<string> {
  const handle = await open(path).catch(() => undefined);
  if (!handle) return '';
  try {
    const { size } = await handle.stat();
    const length = Math.min(size, CONSOLE_TAIL_BYTES);
    const { buffer } = await handle.read(Buffer.alloc(length), 0, length, size - length);
    return buffer.toString('utf8');
  } finally {
    await handle.close();
  }
}
