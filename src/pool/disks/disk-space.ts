import { formatBytes } from '../../base/index.ts';
import { poolError } from '../errors.ts';

/** A file that may grow up to what was promised to a guest. */
export interface Growing {
  readonly path: string;
  /** How large the guest sees it. */
  readonly sizeBytes: number;
  /** What it takes of the disk now. */
  readonly allocatedBytes: number;
}

/** qcow2 keeps tables beside the data, 10 octets for each cluster of 64 KiB; this is more. */
const TABLES_SHARE = 1 / 4096;
const TABLES_BYTES = 2 ** 18;

/**
 * Whether there is room for these disks, also when all that were promised before are filled.
 *
 * @throws `disk_full`
 */
export function checkDiskSpace(wanted: readonly Growing[], others: readonly Growing[], freeBytes: number) {
  const wantedBytes = growthOf(wanted);
  const promisedBytes = growthOf(others);
  if (wantedBytes + promisedBytes <= freeBytes) return;
  throw poolError(
    'disk_full',
    `its disks may take ${formatBytes(wantedBytes)} more; there are ${formatBytes(freeBytes)} free, ` +
      `of which the disks of other VMs may take ${formatBytes(promisedBytes)}`,
  );
}

const growthOf = (disks: readonly Growing[]): number =>
  disks.reduce((sum, { sizeBytes, allocatedBytes }) => {
    const wholeBytes = Math.ceil(sizeBytes * (1 + TABLES_SHARE)) + TABLES_BYTES;
    return sum + Math.max(0, wholeBytes - allocatedBytes);
  }, 0);
