import { readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs';
import { sep } from 'node:path';
import type { Clock } from '../../base/index.ts';

/**
 * A process that cannot be mistaken for a later one with the same number: its pid and the time it started, in clock
 * ticks since boot (proc(5), /proc/pid/stat field 22).
 */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startTicks: number;
}

/** The identity of a running process; `undefined` when there is none, or it has ended and waits to be reaped. */
export function identifyProcess(pid: number): ProcessIdentity | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return undefined;
  }
  // The command's name (field 2) may hold spaces and brackets; what follows the last bracket is regular.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state] = fields;
  const startTicks = Number(fields[19]);
  return state === 'Z' || state === 'X' || !Number.isFinite(startTicks) ? undefined : { pid, startTicks };
}

export function isRunning(identity: ProcessIdentity): boolean {
  return identifyProcess(identity.pid)?.startTicks === identity.startTicks;
}

/** Sends SIGTERM, then SIGKILL after `graceMs`, and waits until the process is gone. True when it was running. */
export async function endProcess(clock: Clock, identity: ProcessIdentity, graceMs = 2000): Promise<boolean> {
  if (!isRunning(identity)) return false;
  const deadlineMs = clock.monotonicMs() + graceMs;
  signal(identity, 'SIGTERM');
  while (isRunning(identity) && clock.monotonicMs() < deadlineMs) await clock.sleep(10);
  signal(identity, 'SIGKILL');
  // A process in an uninterruptible system call outlives SIGKILL for a moment; two seconds is long for that.
  const giveUpMs = clock.monotonicMs() + 2000;
  while (isRunning(identity) && clock.monotonicMs() < giveUpMs) await clock.sleep(10);
  return true;
}

function signal(identity: ProcessIdentity, name: NodeJS.Signals): void {
  if (!isRunning(identity)) return;
  try {
    process.kill(identity.pid, name);
  } catch {
    // It ended between the look and the signal.
  }
}

/** The processes that work in `folder` or below it and whose arguments `isWanted`. */
export function processesIn(
  folder: string,
  isWanted: (argv: readonly string[]) => boolean,
): ProcessIdentity[] {
  const found: ProcessIdentity[] = [];
  const home = realFolder(folder);
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) continue;
    try {
      if (!`${readlinkSync(`/proc/${pid}/cwd`)}${sep}`.startsWith(`${home}${sep}`)) continue;
      const identity = identifyProcess(pid);
      if (identity && isWanted(readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')))
        found.push(identity);
    } catch {
      // It ended meanwhile, or it is another user's and so not ours.
    }
  }
  return found;
}

/** The kernel tells where a process works without symbolic links. */
function realFolder(folder: string): string {
  try {
    return realpathSync(folder);
  } catch {
    return folder;
  }
}
