import { formatBytes } from '../../base/index.ts';
import { poolError } from '../errors.ts';
import type { StoredImage } from '../images/image-store.ts';
import type { Configuration } from '../schema.ts';

/** What decides which disks a version of a VM has. */
export interface DiskOwner {
  readonly imageDigest?: string | undefined;
  readonly configuration: Configuration;
}

/** Whether two versions of a VM have a disk in common: the VM's own, or what was written to those of the same image. */
export function shareDisks(one: DiskOwner, { digest, manifest }: StoredImage, other: DiskOwner): boolean {
  if (one.configuration.diskBytes > 0 && other.configuration.diskBytes > 0) return true;
  return manifest.disks !== undefined && other.imageDigest === digest;
}

/** A new version may have more disk, not less: what would be cut off is its user's. @throws `configuration_too_small` */
export function checkNotShrunk(current: Configuration, next: Configuration): void {
  if (next.diskBytes >= current.diskBytes) return;
  throw poolError(
    'configuration_too_small',
    `the VM has a disk of ${formatBytes(current.diskBytes)}, which cannot shrink to ${formatBytes(next.diskBytes)}; ` +
      'ask for as much, or stop the VM and load it anew',
  );
}
