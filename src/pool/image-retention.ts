/** What may be removed of the images here, decided without any effect. */
import type { ImageUse } from './image-table.ts';
import type { Image } from './schema.ts';

/**
 * Whether an image that `owner` withdrew goes from the disk: nobody else's VM ran from it, none runs, and it was brought
 * here for that owner's VM (what the operator brought is the operator's to remove).
 */
export function goesWithWithdrawal(
  { owner, digest }: Pick<ImageUse, 'owner' | 'digest'>,
  uses: readonly ImageUse[],
  inUse: ReadonlySet<string>,
): boolean {
  const ofImage = uses.filter((use) => use.digest === digest);
  const others = ofImage.filter((use) => use.owner !== owner && !use.isWithdrawn);
  return !inUse.has(digest) && others.length === 0 && ofImage.some((use) => use.wasFetched);
}

/**
 * The digests to remove so that the images take no more than `limitBytes`, least recently used first. Images in use and
 * those that the operator brought stay, even above the limit.
 */
export function toEvict(
  images: readonly Pick<Image, 'digest' | 'sizeBytes'>[],
  uses: readonly ImageUse[],
  inUse: ReadonlySet<string>,
  limitBytes: number,
): string[] {
  let totalBytes = images.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const candidates = images
    .flatMap(({ digest, sizeBytes }) => {
      const ofImage = uses.filter((use) => use.digest === digest);
      if (inUse.has(digest) || !ofImage.some((use) => use.wasFetched)) return [];
      return [{ digest, sizeBytes, usedAtMs: Math.max(...ofImage.map((use) => use.usedAtMs)) }];
    })
    .sort((a, b) => a.usedAtMs - b.usedAtMs);
  const evicted: string[] = [];
  for (const { digest, sizeBytes } of candidates) {
    if (totalBytes <= limitBytes) break;
    evicted.push(digest);
    totalBytes -= sizeBytes;
  }
  return evicted;
}
