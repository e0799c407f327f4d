import { formatBytes } from '../../base/index.ts';
import { poolError } from '../errors.ts';
import type { Configuration } from '../schema.ts';

/** A new version may have more disk, not less: what would be cut off is its user's. @throws `configuration_too_small` */
export function checkNotShrunk(current: Configuration, next: Configuration): void {
  if (next.diskBytes >= current.diskBytes) return;
  throw poolError(
    'configuration_too_small',
    `the VM has a disk of ${formatBytes(current.diskBytes)}, which cannot shrink to ${formatBytes(next.diskBytes)}; ` +
      'ask for as much, or stop the VM and load it anew',
  );
}
