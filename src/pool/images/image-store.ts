import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { link, mkdir, open, readdir, readFile, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, formatBytes, type Random, randomId, systemCode } from '../../base/index.ts';
import { identifyProcess, isRunning } from '../../platform/process/index.ts';
import { poolError } from '../errors.ts';
import type { Image, ImageFile, ImageManifest } from '../schema.ts';
import { checkDisk } from './disk-check.ts';
import { filesOf, initrdFile, MANIFEST, parseManifest } from './image-manifest.ts';
import type { ImageSource } from './image-source.ts';

/** An image on this machine's disk, ready to be started. */
export interface StoredImage extends Image {
  readonly manifest: ImageManifest;
  readonly kernelPath: string;
  /** All layers of the initial RAM file system, one after the other in one file. */
  readonly initrdPath: string;
  /** Its disks, in the order of the manifest. */
  readonly diskPaths: readonly string[];
  /** The operator brought it here, by command or in the folder for origins, whoever else did. */
  readonly isTrusted: boolean;
}

export interface ImportOptions {
  /** What the manifest's digest must be. Without it the digest found is taken, and recorded by the caller. */
  readonly expectedDigest?: string | undefined;
  readonly signal: AbortSignal;
  /** The operator brings it. It stays so marked when it comes again for others. */
  readonly isTrusted?: boolean;
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

/** Holds names and digests only; a real one has about 1 KiB. */
const MANIFEST_LIMIT_BYTES = 64 * 1024;
/** Stays free for what else is written: the database's log grows to 4 MiB. */
const SPARE_BYTES = 4 * 2 ** 20;
/** In an image's folder: the operator brought it. No file of an image has such a name. */
const TRUSTED_MARK = '.trusted';

/**
 * The images of this machine, content-addressed: `<folder>/<SHA-256 of image.json>/`.
 *
 * The file system is the whole truth, so commands use it beside a running Orilla. An image appears by a rename, after
 * its last octet was checked and written through to the disk. A file that another image already holds is linked, not
 * fetched again.
 */
export class ImageStore {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #folder: string;

  private constructor(deps: { clock: Clock; random: Random }, folder: string) {
    this.#clock = deps.clock;
    this.#random = deps.random;
    this.#folder = folder;
  }

  /** Opens the folder, makes it when absent, and removes what imports that died left behind. */
  static async open(deps: { clock: Clock; random: Random }, folder: string): Promise<ImageStore> {
    await mkdir(folder, { recursive: true });
    for (const entry of await readdir(folder)) {
      const maker = /^\.incoming-(\d+)-(\d+)-/.exec(entry);
      if (maker && !isRunning({ pid: Number(maker[1]), startTicks: Number(maker[2]) })) {
        await rm(join(folder, entry), { recursive: true, force: true });
      }
    }
    return new ImageStore(deps, folder);
  }

  async list(): Promise<StoredImage[]> {
    const images: StoredImage[] = [];
    for (const entry of await readdir(this.#folder)) {
      if (!/^[0-9a-f]{64}$/.test(entry)) continue;
      const image = await this.find(`sha256:${entry}`);
      if (image) images.push(image);
    }
    return images.sort((a, b) => a.name.localeCompare(b.name) || a.storedAtMs - b.storedAtMs);
  }

  async find(digest: string): Promise<StoredImage | undefined> {
    const directory = this.#directoryOf(digest);
    const path = join(directory, MANIFEST);
    try {
      const octets = await readFile(path);
      // One that was damaged on the disk counts as absent, and is replaced by the next import.
      if (digestOf(octets) !== digest) return undefined;
      const { mtimeMs } = await stat(path);
      const isTrusted = await stat(join(directory, TRUSTED_MARK)).then(
        () => true,
        () => false,
      );
      return storedImage(directory, digest, parseManifest(octets, path), mtimeMs, isTrusted);
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  /**
   * Brings an image in. Nothing is kept of one that is not whole.
   *
   * @throws `image_digest_mismatch`, `image_truncated`, `image_invalid`, `image_not_found`, `image_fetch_failed`,
   *   `disk_full`.
   */
  async import(source: ImageSource, options: ImportOptions): Promise<StoredImage> {
    const incoming = this.#incomingPath();
    try {
      const image = await this.#importInto(incoming, source, options);
      if (!options.isTrusted || image.isTrusted) return image;
      await writeFile(join(this.#directoryOf(image.digest), TRUSTED_MARK), '');
      return { ...image, isTrusted: true };
    } catch (error) {
      options.signal.throwIfAborted();
      if (systemCode(error) === 'ENOSPC' || systemCode(error) === 'EDQUOT') {
        throw poolError('disk_full', `no room in ${this.#folder} for the image ${source.description}`, error);
      }
      throw error;
    } finally {
      await rm(incoming, { recursive: true, force: true });
    }
  }

  /** @throws `image_not_found` */
  async remove(digest: string): Promise<void> {
    const directory = this.#directoryOf(digest);
    // Renamed first, so that nobody ever sees half an image.
    const outgoing = this.#incomingPath();
    await rename(directory, outgoing).catch((error: unknown) => {
      if (systemCode(error) !== 'ENOENT') throw error;
      throw poolError('image_not_found', `no image ${digest} is stored here`, error);
    });
    await rm(outgoing, { recursive: true, force: true });
  }

  /** Named for this process: in a container every run may have the same pid, so its start is in the name too. */
  #incomingPath(): string {
    const startTicks = identifyProcess(process.pid)?.startTicks ?? 0;
    return join(this.#folder, `.incoming-${process.pid}-${startTicks}-${randomId(this.#random)}`);
  }

  #directoryOf(digest: string): string {
    return join(this.#folder, digest.replace(/^sha256:/, ''));
  }

  async #importInto(incoming: string, source: ImageSource, options: ImportOptions): Promise<StoredImage> {
    const { signal } = options;
    const octets = await readBounded(source, MANIFEST, MANIFEST_LIMIT_BYTES, signal);
    const digest = digestOf(octets);
    if (options.expectedDigest !== undefined && options.expectedDigest !== digest) {
      throw poolError(
        'image_digest_mismatch',
        `${source.description} has the digest ${digest}; expected ${options.expectedDigest}`,
      );
    }
    const manifest = parseManifest(octets, `${source.description} ${MANIFEST}`);
    const present = await this.find(digest);
    if (present) return present;

    const files = filesOf(manifest);
    const totalBytes = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    const held = await this.#heldFiles();
    await this.#checkRoom(source, manifest, held);
    await mkdir(incoming);
    let doneBytes = 0;
    const advance = (sizeBytes: number) => {
      doneBytes += sizeBytes;
      options.onProgress?.(doneBytes, totalBytes);
    };
    for (const file of files) {
      const target = join(incoming, file.file);
      const elsewhere = held.get(file.sha256);
      if (elsewhere !== undefined && (await tryLink(elsewhere, target))) advance(file.sizeBytes);
      else await fetchFile(source, file, target, signal, advance);
    }
    for (const disk of manifest.disks ?? []) await checkDisk(join(incoming, disk.file), disk, signal);
    await joinLayers(incoming, manifest);
    await writeThrough(join(incoming, MANIFEST), [octets]);
    await syncDirectory(incoming);
    await this.#publish(incoming, digest);
    return storedImage(this.#directoryOf(digest), digest, manifest, this.#clock.nowMs(), false);
  }

  /** A disk that an image has filled before it was found not to fit has no room for the database meanwhile. */
  async #checkRoom(source: ImageSource, manifest: ImageManifest, held: Map<string, string>): Promise<void> {
    const missing = filesOf(manifest).filter(({ sha256 }) => !held.has(sha256));
    const joined = manifest.initrd.length > 1 ? manifest.initrd : [];
    const wantedBytes = [...missing, ...joined].reduce((sum, { sizeBytes }) => sum + sizeBytes, SPARE_BYTES);
    const { bavail, bsize } = await statfs(this.#folder);
    if (bavail * bsize >= wantedBytes) return;
    throw poolError(
      'disk_full',
      `no room in ${this.#folder} for the image ${source.description}: it needs ${formatBytes(wantedBytes)}; ` +
        `there are ${formatBytes(bavail * bsize)} free`,
    );
  }

  async #publish(incoming: string, digest: string): Promise<void> {
    try {
      await rename(incoming, this.#directoryOf(digest));
    } catch (error) {
      if (systemCode(error) !== 'ENOTEMPTY' && systemCode(error) !== 'EEXIST') throw error;
      // Another import of the same image was first: its files have the same digests. Or what is there is damaged.
      if (!(await this.find(digest))) {
        await this.remove(digest);
        await rename(incoming, this.#directoryOf(digest));
      }
    }
    await syncDirectory(this.#folder);
  }

  async #heldFiles(): Promise<Map<string, string>> {
    const held = new Map<string, string>();
    for (const image of await this.list()) {
      for (const { sha256, file } of filesOf(image.manifest))
        held.set(sha256, join(this.#directoryOf(image.digest), file));
    }
    return held;
  }
}

function storedImage(
  directory: string,
  digest: string,
  manifest: ImageManifest,
  storedAtMs: number,
  isTrusted: boolean,
): StoredImage {
  return {
    digest,
    name: manifest.name,
    architecture: manifest.architecture,
    sizeBytes: filesOf(manifest).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    storedAtMs,
    manifest,
    kernelPath: join(directory, manifest.kernel.file),
    initrdPath: join(directory, initrdFile(manifest)),
    diskPaths: (manifest.disks ?? []).map(({ file }) => join(directory, file)),
    isTrusted,
  };
}

async function readBounded(
  source: ImageSource,
  file: string,
  limitBytes: number,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of source.read(file, { signal, limitBytes })) {
    sizeBytes += chunk.length;
    if (sizeBytes > limitBytes) {
      throw poolError(
        'image_invalid',
        `${file} of ${source.description} is larger than ${limitBytes} octets`,
      );
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function fetchFile(
  source: ImageSource,
  file: ImageFile,
  target: string,
  signal: AbortSignal,
  onBytes: (count: number) => void,
): Promise<void> {
  const what = `${file.file} of ${source.description}`;
  const hash = createHash('sha256');
  let sizeBytes = 0;
  async function* checked() {
    for await (const chunk of source.read(file.file, { signal, limitBytes: file.sizeBytes })) {
      sizeBytes += chunk.length;
      if (sizeBytes > file.sizeBytes) {
        throw poolError(
          'image_invalid',
          `${what} is longer than the ${file.sizeBytes} octets of its manifest`,
        );
      }
      hash.update(chunk);
      onBytes(chunk.length);
      yield chunk;
    }
  }
  await writeThrough(target, checked());
  if (sizeBytes < file.sizeBytes) {
    throw poolError('image_truncated', `${what} ends after ${sizeBytes} octets; expected ${file.sizeBytes}`);
  }
  const digest = hash.digest('hex');
  if (digest !== file.sha256) {
    throw poolError('image_digest_mismatch', `${what} has SHA-256 ${digest}; expected ${file.sha256}`);
  }
}

/** Joins the layers of the initial RAM file system as the kernel wants them: each begins at a multiple of 4 octets. */
async function joinLayers(directory: string, manifest: ImageManifest): Promise<void> {
  if (manifest.initrd.length === 1) return;
  async function* layers() {
    for (const { file, sizeBytes } of manifest.initrd) {
      const handle = await open(join(directory, file));
      try {
        yield* handle.createReadStream({ autoClose: false, highWaterMark: 1 << 20 });
      } finally {
        await handle.close();
      }
      yield Buffer.alloc(-sizeBytes & 3);
    }
  }
  await writeThrough(join(directory, initrdFile(manifest)), layers());
}

/** Writes a new file and sees it onto the disk. */
async function writeThrough(
  path: string,
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<void> {
  const handle = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o644);
  try {
    for await (const chunk of chunks) await handle.writeFile(chunk);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** False when it cannot be linked, for whatever reason: then it is fetched. */
async function tryLink(from: string, to: string): Promise<boolean> {
  return link(from, to).then(
    () => true,
    () => false,
  );
}

const digestOf = (octets: Uint8Array): string =>
  `sha256:${createHash('sha256').update(octets).digest('hex')}`;
