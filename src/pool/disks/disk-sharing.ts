import type { VmVersion } from '../vm-versions.ts';

/**
 * Whether two versions of a VM write to one disk, so that one of them can run at a time: their own disk, or what was written
 * to a disk of the image that both run from.
 *
 * @param withDisks digests of images that have disks.
 */
export function sharesDisks(one: VmVersion, other: VmVersion, withDisks: ReadonlySet<string>): boolean {
  if (one.configuration.diskBytes > 0 && other.configuration.diskBytes > 0) return true;
  const isSameImage = one.imageDigest === other.imageDigest || one.imageRef === other.imageRef;
  return isSameImage && [one, other].some(({ imageDigest = '' }) => withDisks.has(imageDigest));
}
