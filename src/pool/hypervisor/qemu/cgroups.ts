/**
 * A group for each machine, by which the kernel holds QEMU to what its machine may take, whatever happens inside it
 * (Linux, cgroup-v2.rst). Reading and writing of disks is not limited.
 *
 *     <folder>/<run folder>.<machine>/   cpu.max, cpu.weight, memory.max, memory.swap.max, pids.max
 *
 * The folder is common to all Orillas of the host; a machine's group is named for its run folder too.
 * @module
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../../../base/index.ts';
import { THREADS_LIMIT } from './confinement.ts';

export interface MachineLimits {
  readonly memoryBytes: number;
  readonly cpus: number;
}

/** The kernel's own period (cgroup-v2.rst, `cpu.max`). */
const PERIOD_US = 100_000;
const WEIGHT_PER_CPU = 100;
const LARGEST_WEIGHT = 10_000;

/** What is written into a machine's group. */
export const limitFiles = ({ memoryBytes, cpus }: MachineLimits): Readonly<Record<string, string>> => ({
  'cpu.max': `${cpus * PERIOD_US} ${PERIOD_US}`,
  'cpu.weight': String(Math.min(LARGEST_WEIGHT, cpus * WEIGHT_PER_CPU)),
  'memory.max': String(memoryBytes),
  'memory.swap.max': '0',
  'pids.max': String(THREADS_LIMIT),
});

/** A command that enters the group and then becomes `command`; its process keeps its number. */
export const commandInCgroup = (group: string, command: readonly string[]): [string, string[]] => [
  'sh',
  ['-c', 'echo $$ >"$0/cgroup.procs" && exec "$@"', group, ...command],
];

export class MachineCgroups {
  readonly #folder: string;
  readonly #prefix: string;

  /** @param folder of `cgroupSupport` */
  constructor(folder: string, runFolder: string) {
    this.#folder = folder;
    this.#prefix = `${createHash('sha256').update(runFolder).digest('hex').slice(0, 12)}.`;
  }

  /** Makes a machine's group, and gives its folder. */
  async make(id: string, limits: MachineLimits): Promise<string> {
    const group = this.groupOf(id);
    await mkdir(group, { recursive: true });
    for (const [file, value] of Object.entries(limitFiles(limits))) {
      await writeFile(join(group, file), value, { flag: 'r+' }).catch((error: unknown) => {
        // A kernel without swap has no such limit.
        if (file !== 'memory.swap.max' || systemCode(error) !== 'ENOENT') throw error;
      });
    }
    return group;
  }

  /** Whether the kernel has ended a process of the machine because it took more than `memory.max`. */
  async ranOutOfMemory(id: string): Promise<boolean> {
    const events = await readFile(join(this.groupOf(id), 'memory.events'), 'utf8').catch(() => '');
    return /^oom_kill [1-9]/m.test(events);
  }

  /** Once the machine has ended. Nothing happens when it has no group. */
  remove(id: string): Promise<void> {
    return rmdir(this.groupOf(id)).catch((error: unknown) => {
      if (systemCode(error) !== 'ENOENT') throw error;
    });
  }

  /** What machines left that are no more. */
  async removeAllBut(kept: ReadonlySet<string>): Promise<void> {
    for (const name of await readdir(this.#folder)) {
      if (!name.startsWith(this.#prefix)) continue;
      const id = name.slice(this.#prefix.length);
      if (!kept.has(id)) await this.remove(id);
    }
  }

  /** The folder of a machine's group. */
  groupOf(id: string): string {
    return join(this.#folder, `${this.#prefix}${id}`);
  }
}
