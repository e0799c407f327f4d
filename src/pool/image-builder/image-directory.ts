import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { messageOf, type Random, randomId, systemCode } from '../../base/index.ts';
import { type ImageFile, type ImageManifest, imageManifestSchema } from '../schema.ts';
import { buildError } from './errors.ts';

const MANIFEST = 'image.json';

/** Writes one file of the image and gives what the manifest says of it. */
export type WriteImageFile = (
  file: string,
  content: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
) => Promise<ImageFile>;

/**
 * Makes an image's directory: `fill` writes the files and gives the manifest, and only then does the directory appear, by a
 * rename. An image that was there before is replaced; between its going and the new one's coming is a moment without either.
 *
 * @throws `output_not_an_image` when something else is there, `disk_full`.
 */
export async function writeImageDirectory(
  deps: { random: Random },
  outputDirectory: string,
  fill: (write: WriteImageFile) => Promise<ImageManifest>,
  signal?: AbortSignal,
): Promise<ImageManifest> {
  const output = resolve(outputDirectory);
  const existing = await readExisting(output);
  const sibling = join(dirname(output), `.${basename(output)}.${randomId(deps.random, 8)}`);
  const [fresh, old] = [`${sibling}.new`, `${sibling}.old`];
  try {
    await mkdir(fresh, { recursive: true });
    const manifest = imageManifestSchema.parse(
      await fill((file, content) => writeFileWithDigest(join(fresh, file), file, content, signal)),
    );
    await writeFile(join(fresh, MANIFEST), `${JSON.stringify(manifest, null, 2)}\n`, { flush: true });
    signal?.throwIfAborted();
    if (existing === 'image') await rename(output, old);
    // Over an empty directory too (rename(2)).
    await rename(fresh, output);
    return manifest;
  } catch (error) {
    // A stream that was aborted says only that; the signal says why.
    signal?.throwIfAborted();
    if (systemCode(error) !== 'ENOSPC') throw error;
    throw buildError('disk_full', `no space left for the image ${output}`, error);
  } finally {
    await rm(fresh, { recursive: true, force: true });
    await rm(old, { recursive: true, force: true });
  }
}

async function writeFileWithDigest(
  path: string,
  file: string,
  content: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  signal: AbortSignal | undefined,
): Promise<ImageFile> {
  const hash = createHash('sha256');
  let sizeBytes = 0;
  const measure = async function* (chunks: AsyncIterable<Uint8Array>) {
    for await (const chunk of chunks) {
      hash.update(chunk);
      sizeBytes += chunk.length;
      yield chunk;
    }
  };
  // Written through to the disk before the rename that makes it count.
  const target = createWriteStream(path, { flags: 'wx', flush: true });
  await pipeline(content, measure, target, signal ? { signal } : {});
  return { file, sizeBytes, sha256: hash.digest('hex') };
}

/** @throws `output_not_an_image` when something else than an image is at the place of the output. */
export async function requireReplaceable(outputDirectory: string): Promise<void> {
  await readExisting(resolve(outputDirectory));
}

/** What is at the place of the output. Only an image and nothing but an image is ours to replace. */
async function readExisting(directory: string): Promise<'nothing' | 'image'> {
  const names = await readdir(directory).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return [];
    throw buildError('output_not_an_image', `${directory} cannot be the output: ${messageOf(error)}`, error);
  });
  if (names.length === 0) return 'nothing';
  const known = await filesOfImage(directory);
  const foreign = names.find((name) => !known?.has(name));
  if (foreign === undefined) return 'image';
  const reason = known ? `it also holds "${foreign}"` : `it holds files and no ${MANIFEST} of an image`;
  throw buildError(
    'output_not_an_image',
    `${directory} is not replaced: ${reason}. Name another folder or empty it.`,
  );
}

async function filesOfImage(directory: string): Promise<ReadonlySet<string> | undefined> {
  try {
    const { data } = imageManifestSchema.safeParse(
      JSON.parse(await readFile(join(directory, MANIFEST), 'utf8')),
    );
    return data && new Set([MANIFEST, data.kernel.file, ...data.initrd.map((layer) => layer.file)]);
  } catch {
    return undefined;
  }
}
