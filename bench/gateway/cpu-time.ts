/**
 * What processors did and for whom, as the kernel counts it (proc(5)): `/proc/PID/stat` and `/proc/stat`.
 * @module
 */
import { readdirSync, readFileSync } from 'node:fs';

/** USER_HZ: 100 on every architecture on which Node runs. */
const TICK_US = 10_000;

/**
 * Processor time in the program's own code, and in the kernel on its behalf. Their sum is exact; where one ends and the
 * other begins, most kernels only sample (`CONFIG_TICK_CPU_ACCOUNTING`).
 */
export interface CpuTime {
  readonly userUs: number;
  readonly systemUs: number;
}

export interface ProcessStat extends CpuTime {
  /** The times are of all its threads, those that ended too, and of its children that ended. */
  readonly parent: number;
}

export function parseProcessStat(text: string): ProcessStat {
  // The command's name (field 2) may hold spaces and brackets; what follows the last bracket is regular.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const field = (number: number) => Number(fields[number - 3]);
  // utime and cutime, stime and cstime
  return {
    parent: field(4),
    userUs: (field(14) + field(16)) * TICK_US,
    systemUs: (field(15) + field(17)) * TICK_US,
  };
}

/** The processor time of a process with all its descendants so far. */
export function cpuTimeOfTree(root: number): CpuTime {
  return sumOfTree(root, readProcesses());
}

/** A process and all its descendants. */
export const pidsOfTree = (root: number): number[] => treeOf(root, readProcesses());

export function sumOfTree(root: number, processes: ReadonlyMap<number, ProcessStat>): CpuTime {
  const all = treeOf(root, processes).flatMap((pid) => processes.get(pid) ?? []);
  return {
    userUs: all.reduce((sum, { userUs }) => sum + userUs, 0),
    systemUs: all.reduce((sum, { systemUs }) => sum + systemUs, 0),
  };
}

function treeOf(root: number, processes: ReadonlyMap<number, ProcessStat>): number[] {
  const isBelow = (pid: number): boolean => {
    for (let at = pid; at > 1; at = processes.get(at)?.parent ?? 0) if (at === root) return true;
    return false;
  };
  return [...processes.keys()].filter(isBelow);
}

function readProcesses(): Map<number, ProcessStat> {
  const processes = new Map<number, ProcessStat>();
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      processes.set(Number(entry), parseProcessStat(readFileSync(`/proc/${entry}/stat`, 'latin1')));
    } catch {
      // It ended between the two looks.
    }
  }
  return processes;
}

export interface CoreTime {
  readonly busyUs: number;
  /** Taken by the hypervisor for somebody else while there was work. */
  readonly stolenUs: number;
}

export function parseCoreTime(text: string, core: number): CoreTime {
  const line = text.split('\n').find((candidate) => candidate.startsWith(`cpu${core} `));
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = (line ?? '')
    .split(/\s+/)
    .slice(1)
    .map(Number);
  return { busyUs: (user + nice + system + irq + softirq) * TICK_US, stolenUs: steal * TICK_US };
}

export const readCoreTime = (core: number): CoreTime =>
  parseCoreTime(readFileSync('/proc/stat', 'utf8'), core);

/** `0-2,5` as numbers: the notation of `Cpus_allowed_list`. */
export function parseCoreList(text: string): number[] {
  return text
    .trim()
    .split(',')
    .filter((part) => part !== '')
    .flatMap((part) => {
      const [first = Number.NaN, last = first] = part.split('-').map(Number);
      return Array.from({ length: last - first + 1 }, (_, index) => first + index);
    });
}

/** The processors on which a process may run: this one, unless another is named. */
export function allowedCores(pid: number | 'self' = 'self'): number[] {
  const line = /^Cpus_allowed_list:\s*(\S+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return parseCoreList(line?.[1] ?? '');
}
