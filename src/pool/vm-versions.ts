/**
 * The versions of one VM, decided without any effect. A new version starts beside the one that serves and takes its place
 * when it is ready; until then, and when it fails, the old one goes on:
 *
 *     current ──wished──▶ current + next ──answered──▶ current (was next) + previous (was current)
 *        ▲                     │
 *        └── failed, wished current, rolled back ──┘
 *
 *     current + previous ──rolled back──▶ current + next (what previous ran) + previous
 * @module
 */
import type { Configuration, Vm } from './schema.ts';

/** What an owner asks a VM to be. */
export interface WantedVersion {
  readonly imageRef: string;
  /** Known from the request, or recorded when the image was first fetched. */
  readonly imageDigest?: string | undefined;
  readonly configuration: Configuration;
  /** What the owner keeps with its VM. The pool does not read it. */
  readonly ownerNote: string;
}

export interface VmVersion extends WantedVersion {
  /** Counts from 1; a VM never has the same number for two things. */
  readonly version: number;
}

export interface VmVersions {
  /** Serves, or is on its way to as the first. */
  readonly current: VmVersion;
  /** On its way to take the place of `current`. */
  readonly next?: VmVersion | undefined;
  /** What served before `current`, and can again. */
  readonly previous?: VmVersion | undefined;
  /** The highest number that was given. */
  readonly latest: number;
}

export type VersionEvent =
  | { readonly kind: 'wished'; readonly wanted: WantedVersion }
  | { readonly kind: 'rolled_back' }
  /** Another note goes with this version; nothing is started for it. */
  | { readonly kind: 'noted'; readonly version: number; readonly ownerNote: string }
  /** The machine of this version is ready. */
  | { readonly kind: 'answered'; readonly version: number }
  /** This version was given up. */
  | { readonly kind: 'failed'; readonly version: number }
  /** The image behind this version's reference was found to be this one. */
  | { readonly kind: 'pinned'; readonly version: number; readonly imageDigest: string }
  /** No version goes back to this image any more. */
  | { readonly kind: 'withdrawn'; readonly imageDigest: string };

export const firstVersion = (wanted: WantedVersion): VmVersions => ({
  current: { ...wanted, version: 1 },
  latest: 1,
});

/** The images that its versions run from or may go back to. */
export const imagesOf = ({ current, next, previous }: VmVersions): ReadonlySet<string> =>
  new Set([current, next, previous].flatMap((version) => version?.imageDigest ?? []));

/** Which versions run from our beginning on: a new one beside the one that serves; where they share a disk, instead of it. */
export function versionsToRun(
  { current, next }: VmVersions,
  sharesDisks: (one: VmVersion, other: VmVersion) => boolean,
): readonly VmVersion[] {
  if (!next) return [current];
  return sharesDisks(current, next) ? [next] : [current, next];
}

/** As it is told beside the one that serves. */
export const describeOther = ({ version, imageRef, imageDigest }: VmVersion | Vm) => ({
  version,
  imageRef,
  imageDigest,
});

/** The versions that serve or are to. */
export const numbersOf = ({ current, next }: VmVersions): readonly number[] =>
  [current, ...(next ? [next] : [])].map(({ version }) => version);

/** In what a wish differs from a version; undefined when it is that version. A digest that is not named is any. */
export function difference(version: WantedVersion, wanted: WantedVersion): string | undefined {
  if (version.imageRef !== wanted.imageRef) return 'image';
  if (wanted.imageDigest !== undefined && wanted.imageDigest !== version.imageDigest) return 'image digest';
  const { cpus, memoryBytes, diskBytes } = version.configuration;
  const other = wanted.configuration;
  const isSame = cpus === other.cpus && memoryBytes === other.memoryBytes && diskBytes === other.diskBytes;
  return isSame ? undefined : 'configuration';
}

/** The versions after `event`; the same object when it changes nothing. */
export function transition(versions: VmVersions, event: VersionEvent): VmVersions {
  const { current, next, previous } = versions;
  switch (event.kind) {
    case 'wished':
      return afterWish(versions, event.wanted);
    case 'rolled_back':
      if (next) return { ...versions, next: undefined };
      return previous ? begin(versions, previous) : versions;
    case 'answered':
      if (next?.version !== event.version) return versions;
      // What was never fetched cannot be gone back to.
      return {
        ...versions,
        current: next,
        next: undefined,
        previous: current.imageDigest === undefined ? previous : current,
      };
    case 'failed':
      return next?.version === event.version ? { ...versions, next: undefined } : versions;
    case 'noted':
      return amend(versions, event.version, { ownerNote: event.ownerNote });
    case 'pinned':
      return amend(versions, event.version, { imageDigest: event.imageDigest });
    case 'withdrawn':
      return previous?.imageDigest === event.imageDigest ? { ...versions, previous: undefined } : versions;
  }
}

/** The newest wish counts: one for what is there calls a change off, one for a third thing takes the place of the next. */
function afterWish(versions: VmVersions, wanted: WantedVersion): VmVersions {
  const { current, next } = versions;
  const { ownerNote } = wanted;
  if (difference(current, wanted) === undefined) {
    const noted = amend(versions, current.version, { ownerNote });
    return next ? { ...noted, next: undefined } : noted;
  }
  if (next && difference(next, wanted) === undefined) return amend(versions, next.version, { ownerNote });
  return begin(versions, wanted);
}

function amend(
  versions: VmVersions,
  version: number,
  change: Partial<Pick<VmVersion, 'ownerNote' | 'imageDigest'>>,
): VmVersions {
  for (const role of ['current', 'next'] as const) {
    const present = versions[role];
    if (present?.version !== version) continue;
    const amended = { ...present, ...change };
    const isSame = amended.ownerNote === present.ownerNote && amended.imageDigest === present.imageDigest;
    return isSame ? versions : { ...versions, [role]: amended };
  }
  return versions;
}

function begin(
  versions: VmVersions,
  { imageRef, imageDigest, configuration, ownerNote }: WantedVersion,
): VmVersions {
  const version = versions.latest + 1;
  return { ...versions, next: { version, imageRef, imageDigest, configuration, ownerNote }, latest: version };
}
