import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { MachineDisk } from '../../disks/machine-disk.ts';
import { poolError } from '../../errors.ts';
import { readMachineRecord } from './machine-record.ts';

/**
 * One disk, one writer: refuses a machine whose disk stands in the record of another. A machine's record is there before
 * its QEMU and goes after it, and of two that start at once each sees the other's. QEMU locks the files themselves, too;
 * that is what holds against other programs.
 *
 * @param id of the machine that wants them; its own record is written.
 * @throws `disk_in_use`
 */
export async function checkDisksFree(
  runFolder: string,
  id: string,
  disks: readonly MachineDisk[],
): Promise<void> {
  if (disks.length === 0) return;
  const wanted = new Set(disks.map(({ path }) => path));
  for (const other of await readdir(runFolder)) {
    const record = other === id ? undefined : await readMachineRecord(join(runFolder, other));
    const taken = record?.disks.find(({ path }) => wanted.has(path));
    if (taken) throw poolError('disk_in_use', `the machine ${other} has the disk ${taken.path}`);
  }
}
