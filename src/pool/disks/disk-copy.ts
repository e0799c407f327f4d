import { mkdir, open, rename, rm, stat, statfs } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { runCommand } from '../../platform/process/index.ts';
import { poolError } from '../errors.ts';
import type { MachineDisk } from './machine-disk.ts';

/** A disk of some hundred GiB on a slow device; whoever waits has a signal of his own. */
const TIMEOUT_MS = 6 * 3_600_000;

/**
 * Copies the disks into a folder, under the names that they have. Holes stay holes, octets are shared where the file system
 * can, and a copy has the time of its last change from what it was made of. Nobody may write to the disks meanwhile; that
 * the copies are on the disk, for good, is for `flushCopies`, when the disks may be written to again.
 *
 * @throws `disk_full`, the signal's reason.
 */
export async function copyDisks(
  disks: readonly MachineDisk[],
  folder: string,
  signal: AbortSignal,
): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  for (const { path } of disks) await copyDisk(path, join(folder, basename(path)), signal);
}

/** Sees copies that `copyDisks` made onto the disk. */
export async function flushCopies(disks: readonly MachineDisk[], folder: string): Promise<void> {
  for (const path of [...disks.map((disk) => join(folder, basename(disk.path))), folder]) await flush(path);
}

/** Puts copies that `copyDisks` made in the place of the disks; each is the old one or the copy, whole. */
export async function restoreDisks(
  disks: readonly MachineDisk[],
  folder: string,
  signal: AbortSignal,
): Promise<void> {
  for (const { path } of disks) {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const fresh = `${path}.new`;
    await copyDisk(join(folder, basename(path)), fresh, signal);
    await flush(fresh);
    await rename(fresh, path);
  }
}

async function copyDisk(from: string, to: string, signal: AbortSignal): Promise<void> {
  const args = ['--reflink=auto', '--sparse=auto', '--preserve=mode,timestamps', '--', from, to];
  const env = { PATH: process.env['PATH'], LC_ALL: 'C' };
  try {
    // Node's own copies fill the holes.
    await runCommand('cp', args, { signal, timeoutMs: TIMEOUT_MS, env });
  } catch (error) {
    await rm(to, { force: true });
    signal.throwIfAborted();
    const { bavail, bsize } = await statfs(dirname(to));
    const { blocks } = await stat(from);
    if (bavail * bsize >= blocks * 512) throw error;
    throw poolError('disk_full', `no room for a copy of ${from} at ${to}`, error);
  }
}

async function flush(path: string): Promise<void> {
  await using handle = await open(path);
  await handle.sync();
}
