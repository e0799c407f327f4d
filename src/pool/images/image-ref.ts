import { realpath } from 'node:fs/promises';
import { isAbsolute, relative, resolve } from 'node:path';
import type { Clock } from '../../base/index.ts';
import { poolError } from '../errors.ts';
import { imageDigestSchema } from '../schema.ts';
import { directorySource, type ImageSource, urlSource } from './image-source.ts';
import { type ListedServers, listedServers } from './server-policy.ts';

/**
 * Where an image is, as an origin names it [gateway G5]: a URL on a server of the network, a directory of the gateway
 * in which it was stored before, or the digest of one that the gateway holds.
 */
export type ImageRef =
  | { readonly kind: 'url'; readonly url: URL }
  | { readonly kind: 'directory'; readonly path: string }
  | { readonly kind: 'stored'; readonly digest: string };

/** What an `imageRef` may name here. */
export interface ImageRefPolicy {
  /** The one folder below which directories may be named. */
  readonly directoryRoot: string;
  /** The servers from which images may be fetched: what is not listed is not contacted. */
  readonly servers: ListedServers;
}

/**
 * @param what it is called where it came from.
 * @throws `image_invalid` when the text is none of the three forms.
 */
export function parseImageRef(text: string, what = 'imageRef'): ImageRef {
  if (imageDigestSchema.safeParse(text).success) return { kind: 'stored', digest: text };
  if (/^https?:\/\//i.test(text)) {
    if (!URL.canParse(text)) throw poolError('image_invalid', `${what} ${quote(text)} is not a URL`);
    return { kind: 'url', url: new URL(text) };
  }
  const path = text.replace(/^file:\/\/(?=\/)/i, '');
  if (path === '' || path.includes('\0') || /^[a-z][a-z0-9+.-]*:/i.test(path)) {
    throw poolError(
      'image_invalid',
      `${what} ${quote(text)}: expected an http or https URL, a directory, or sha256: and a digest`,
    );
  }
  return { kind: 'directory', path };
}

/**
 * The source behind a reference, once the policy allows it.
 *
 * @throws `image_outside_root` for a directory outside the root or a server that is not listed, `image_not_found` for a
 *   directory that does not exist.
 */
export async function resolveImageRef(
  clock: Clock,
  ref: Exclude<ImageRef, { kind: 'stored' }>,
  policy: ImageRefPolicy,
): Promise<ImageSource> {
  if (ref.kind === 'url') {
    const { url } = ref;
    if (url.username !== '' || url.password !== '') {
      throw poolError('image_invalid', 'imageRef must not carry a user name or password');
    }
    const servers = listedServers(policy.servers);
    servers.check(url);
    return urlSource(clock, url, { policy: servers });
  }
  return directorySource(await insideRoot(ref.path, policy.directoryRoot));
}

/**
 * The real path of `path` below `root`, symbolic links followed before the comparison.
 *
 * @throws `image_outside_root`, `image_not_found`
 */
export async function insideRoot(path: string, root: string): Promise<string> {
  const realRoot = await realpath(root).catch(() => resolve(root));
  const wanted = resolve(realRoot, path);
  const outside = () =>
    poolError('image_outside_root', `${quote(path)} is not below the gateway's image folder`);
  // Before any look at the disk, so that the answer does not tell which other folders exist.
  if (!isBelow(wanted, realRoot) && !isBelow(wanted, resolve(root))) throw outside();
  const real = await realpath(wanted).catch((cause: unknown) => {
    throw poolError('image_not_found', `there is no ${quote(path)} below the gateway's image folder`, cause);
  });
  if (!isBelow(real, realRoot)) throw outside();
  return real;
}

function isBelow(path: string, root: string): boolean {
  const way = relative(root, path);
  return way !== '' && !way.startsWith('..') && !isAbsolute(way);
}

const quote = (text: string): string => JSON.stringify(text.slice(0, 200));
