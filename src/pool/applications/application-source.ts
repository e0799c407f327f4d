import { basename, dirname } from 'node:path';
import type { Clock } from '../../base/index.ts';
import { type ImageRef, type ImageRefPolicy, insideRoot } from '../images/image-ref.ts';
import { directorySource, type ImageSource, urlSource } from '../images/image-source.ts';
import { listedServers, type ServerPolicy, serverOfOperator } from '../images/server-policy.ts';
import type { ApplicationSource } from './application-store.ts';

/**
 * The source behind a reference of an owner's, by the rules for images: a URL on a server that is listed, or a file below
 * the gateway's image folder [gateway G13].
 *
 * @throws `image_outside_root`, `image_not_found`, `image_address_refused`
 */
export async function resolveApplicationRef(
  clock: Clock,
  ref: Exclude<ImageRef, { kind: 'stored' }>,
  policy: ImageRefPolicy,
): Promise<ApplicationSource> {
  if (ref.kind === 'directory') return fileSource(await insideRoot(ref.path, policy.directoryRoot));
  const servers = listedServers(policy.servers);
  servers.check(ref.url);
  return urlOf(clock, ref.url, servers);
}

/** An application that the operator names by its URL. */
export const operatorUrlSource = (clock: Clock, url: URL): ApplicationSource =>
  urlOf(clock, url, serverOfOperator(url));

/** A file of this machine. */
export const fileSource = (path: string): ApplicationSource =>
  fileOf(directorySource(dirname(path)), basename(path));

function urlOf(clock: Clock, url: URL, policy: ServerPolicy): ApplicationSource {
  // "./": a name with a colon would be taken for another URL.
  const file = `./${url.pathname.split('/').at(-1)}${url.search}`;
  return { ...fileOf(urlSource(clock, new URL('.', url), { policy }), file), description: url.href };
}

const fileOf = (source: ImageSource, file: string): ApplicationSource => ({
  description: `${source.description}/${file}`,
  read: (options) => source.read(file, options),
});
