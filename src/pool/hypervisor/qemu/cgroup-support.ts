import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { messageOf } from '../../../base/index.ts';

/** Whether machines can have limits by cgroups of version 2; if so, below which folder, and if not, why. */
export type CgroupSupport =
  | { readonly hasLimits: true; readonly folder: string }
  | { readonly hasLimits: false; readonly reason: string };

const CONTROLLERS = ['cpu', 'memory', 'pids'];
const FOLDER = 'orilla';

/**
 * The name that our own group has where somebody gave us the one above it (systemd, `DelegateSubgroup=`). A group with
 * limits for those below it has no processes of its own, so ours has to be a leaf.
 */
const OWN_LEAF = 'orilla-control';

/** Finds out by doing it: makes the folder for the machines' groups, and has the kernel limit what is in them. */
export async function cgroupSupport(root?: string): Promise<CgroupSupport> {
  try {
    const found = root ?? cgroupRoot(await read('/proc/self/mountinfo'), await read('/proc/self/cgroup'));
    if (found === undefined) return { hasLimits: false, reason: 'this host has no cgroup v2' };
    const there = (await read(join(found, 'cgroup.controllers'))).split(/\s+/);
    const missing = CONTROLLERS.filter((controller) => !there.includes(controller));
    if (missing.length > 0) {
      return { hasLimits: false, reason: `cgroup v2 lacks ${missing.join(', ')} in ${found}` };
    }
    const folder = join(found, FOLDER);
    await enable(found);
    await mkdir(folder, { recursive: true });
    await enable(folder);
    return { hasLimits: true, folder };
  } catch (error) {
    return { hasLimits: false, reason: messageOf(error) };
  }
}

/**
 * Where groups for machines may be made: below the group that was given to us, or below the root, which alone may have
 * processes beside groups with limits (Linux, cgroup-v2.rst, "No Internal Process Constraint").
 *
 * @param mounts `/proc/self/mountinfo` @param own `/proc/self/cgroup`
 */
export function cgroupRoot(mounts: string, own: string): string | undefined {
  const mount = /^\d+ \d+ \S+ \S+ (\S+) .* - cgroup2 /m.exec(mounts)?.[1];
  const path = /^0::(\/.*)$/m.exec(own)?.[1] ?? '/';
  return mount !== undefined && basename(path) === OWN_LEAF ? join(mount, dirname(path)) : mount;
}

const enable = (folder: string): Promise<void> =>
  writeFile(join(folder, 'cgroup.subtree_control'), CONTROLLERS.map((name) => `+${name}`).join(' '));

const read = (path: string): Promise<string> => readFile(path, 'utf8');
