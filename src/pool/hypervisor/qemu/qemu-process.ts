import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, constants, type FileHandle, open, writeFile } from 'node:fs/promises';
import { setPriority } from 'node:os';
import { delimiter, join } from 'node:path';
import { poolError } from '../../errors.ts';
import { commandInCgroup } from './cgroups.ts';
import { type Confinement, confinedCommand } from './confinement.ts';
import { openLog, RUN_FILES } from './run-files.ts';

/** A disk's file, or one that it lies over. */
export interface DiskFile {
  readonly path: string;
  readonly isWritable: boolean;
}

/** The first descriptor after standard input, output and error: the console's file. */
export const CONSOLE_DESCRIPTOR = 3;
/** That of the first input; the others follow. */
export const INPUT_DESCRIPTOR = 4;
/** There are no more inputs. */
const INPUT_LIMIT = 4;
/** That of the first file of a disk; the others follow. */
export const DISK_DESCRIPTOR = INPUT_DESCRIPTOR + INPUT_LIMIT;

export interface QemuLaunch {
  /** `qemu-system-…` */
  readonly program: string;
  readonly args: readonly string[];
  /** The run directory, in which it works. */
  readonly directory: string;
  /** Files that it gets open, because it may not walk to them: the path of the n-th is `inputPath(n)`. */
  readonly inputs: readonly string[];
  /** Those of its disks, which it gets open as well: the n-th is descriptor `DISK_DESCRIPTOR` + n. */
  readonly diskFiles: readonly DiskFile[];
  /** Without it, it runs as we do and in our network. */
  readonly confinement?: Confinement | undefined;
  /** The folder of the cgroup that limits it. */
  readonly cgroup?: string | undefined;
}

/** By which path QEMU opens what it was given as a descriptor. */
export const inputPath = (index: number): string => `/proc/self/fd/${INPUT_DESCRIPTOR + index}`;

/** Of a process that yields to others (setpriority(2)): it has a third of the time of one that does not. */
export const NICENESS = 5;

/** A QEMU that runs, whoever started it. */
export interface RunningQemu {
  readonly pid: number;
  /** Aborts when it has ended. */
  readonly ended: AbortSignal;
  /** How it ended. */
  readonly exited: Promise<{ readonly reason: string }>;
  /** Ends it at once; resolves when it is gone: until then it holds its memory, its address and its directory. */
  kill(): Promise<void>;
}

/** A QEMU that this process started. */
export class QemuProcess implements RunningQemu {
  readonly #child: ChildProcess;
  readonly #ended = new AbortController();
  readonly exited: Promise<{ readonly status: number | null; readonly reason: string }>;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.exited = new Promise((resolve) => {
      child.once('exit', (status, killer) => {
        this.#ended.abort(poolError('machine_failed', 'QEMU ended'));
        const reason = killer === null ? `QEMU ended with status ${status}` : `QEMU was ended by ${killer}`;
        resolve({ status, reason });
      });
    });
  }

  /**
   * Starts QEMU as the leader of a session of its own, so that Ctrl-C in a terminal reaches us and not the guests. Of our
   * environment it learns where programs are, and nothing else.
   *
   * @throws `hypervisor_missing`, or the system's error.
   */
  static async spawn(launch: QemuLaunch): Promise<QemuProcess> {
    const { program, args, directory, inputs, confinement, cgroup } = launch;
    const command: [string, readonly string[]] = [await findProgram(program), args];
    const confined = confinement ? confinedCommand(confinement, command.flat()) : command;
    const [file, rest] = cgroup === undefined ? confined : commandInCgroup(cgroup, confined.flat());
    const opened: FileHandle[] = [];
    try {
      const errors = await openLog(join(directory, RUN_FILES.errors));
      opened.push(errors);
      opened.push(await openLog(join(directory, RUN_FILES.console)));
      for (const path of inputs) opened.push(await openInput(path, confinement !== undefined));
      const [, ...passed]: (number | 'ignore')[] = opened.map(({ fd }) => fd);
      for (let index = inputs.length; index < INPUT_LIMIT; index += 1) passed.push('ignore');
      for (const { path, isWritable } of launch.diskFiles) {
        const handle = await open(path, isWritable ? 'r+' : 'r');
        opened.push(handle);
        passed.push(handle.fd);
      }
      const child = spawn(file, rest, {
        cwd: directory,
        detached: true,
        env: { PATH: process.env['PATH'], LC_ALL: 'C' },
        stdio: ['ignore', errors.fd, errors.fd, ...passed],
      });
      await new Promise<void>((resolve, reject) => child.once('spawn', resolve).once('error', reject));
      child.unref();
      // Before anything is waited for: it may end at once, and that is told once.
      const qemu = new QemuProcess(child);
      await yieldToOthers(qemu.pid);
      return qemu;
    } finally {
      for (const handle of opened) await handle.close();
    }
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    // While we wait for its end it keeps this process alive.
    this.#child.ref();
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }
}

/**
 * What serves all guests goes before what one of them does: this process, and the workers that carry the traffic. Where the
 * kernel counts sessions before processes (sched(7), autogroup), the session has to yield, too.
 */
async function yieldToOthers(pid: number): Promise<void> {
  try {
    setPriority(pid, NICENESS);
    await writeFile(`/proc/${pid}/autogroup`, String(NICENESS));
  } catch {
    // It has ended, which is told elsewhere, or this kernel has no such groups.
  }
}

async function findProgram(program: string): Promise<string> {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = join(folder, program);
    const isThere = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere) return path;
  }
  throw poolError(
    'hypervisor_missing',
    `${program} is not installed; on Debian: apt-get install qemu-system-x86`,
  );
}

/**
 * A confined QEMU is another user, and opening a descriptor's path asks the file for permission, though not the folders
 * above it, which keep all others out.
 */
async function openInput(path: string, isForOthers: boolean): Promise<FileHandle> {
  const handle = await open(path, 'r');
  const { mode } = await handle.stat();
  if (isForOthers && (mode & constants.S_IROTH) === 0) await handle.chmod((mode | constants.S_IROTH) & 0o777);
  return handle;
}
