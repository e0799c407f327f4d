import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, type Random, randomId, systemCode } from '../../base/index.ts';
import { poolError } from '../errors.ts';
import type { ReadOptions } from '../images/image-source.ts';
import { ARCHIVE_LIMIT_BYTES, readApplicationArchive } from './application-archive.ts';
import type { ApplicationManifest } from './application-manifest.ts';

/** An application on this machine's disk, checked. */
export interface StoredApplication {
  readonly digest: string;
  readonly path: string;
  readonly sizeBytes: number;
  readonly manifest: ApplicationManifest;
}

/** Where an application's file comes from. */
export interface ApplicationSource {
  /** For messages. */
  readonly description: string;
  read(options: ReadOptions): AsyncIterable<Uint8Array>;
}

export interface ApplicationImportOptions {
  readonly expectedDigest?: string | undefined;
  readonly signal: AbortSignal;
  readonly onProgress?: (doneBytes: number) => void;
}

/** What nobody wants is kept this long: who brought it may be about to ask for it. */
const UNWANTED_LIFETIME_MS = 3_600_000;
/** 1 GiB at the most. */
const UNWANTED_LIMIT = 16;
const FILE = /^([0-9a-f]{64})\.tar$/;

/**
 * The applications of this machine, content-addressed: `<folder>/<SHA-256>.tar`. The file system is the whole truth, so
 * commands use it beside a running Orilla. A file appears by a rename, after its last octet was checked and written through.
 */
export class ApplicationStore {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #folder: string;

  constructor(deps: { clock: Clock; random: Random }, folder: string) {
    this.#clock = deps.clock;
    this.#random = deps.random;
    this.#folder = folder;
  }

  async find(digest: string): Promise<StoredApplication | undefined> {
    const path = this.#pathOf(digest);
    try {
      await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
      const { size: sizeBytes } = await file.stat();
      // One that was damaged on the disk counts as absent, and is replaced by the next import.
      if ((await digestOf(file)) !== digest) return undefined;
      return { digest, path, sizeBytes, manifest: await readApplicationArchive(file) };
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  /**
   * Brings an application in. Nothing is kept of one that is not as it should be.
   *
   * @throws `application_digest_mismatch`, `application_invalid`, `disk_full`, and what the source throws.
   */
  async import(source: ApplicationSource, options: ApplicationImportOptions): Promise<StoredApplication> {
    const { expectedDigest, signal, onProgress } = options;
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const incoming = join(this.#folder, `.incoming-${randomId(this.#random)}`);
    try {
      await using file = await open(incoming, 'wx+', 0o600);
      let doneBytes = 0;
      for await (const chunk of source.read({ signal, limitBytes: ARCHIVE_LIMIT_BYTES })) {
        doneBytes += chunk.length;
        if (doneBytes > ARCHIVE_LIMIT_BYTES) {
          throw poolError(
            'application_invalid',
            `${source.description} is longer than ${ARCHIVE_LIMIT_BYTES} octets`,
          );
        }
        await file.writeFile(chunk);
        onProgress?.(doneBytes);
      }
      const digest = await digestOf(file);
      if (expectedDigest !== undefined && digest !== expectedDigest) {
        throw poolError(
          'application_digest_mismatch',
          `${source.description} has the digest ${digest}; expected ${expectedDigest}`,
        );
      }
      const manifest = await readApplicationArchive(file);
      await file.sync();
      const path = this.#pathOf(digest);
      await rename(incoming, path);
      return { digest, path, sizeBytes: doneBytes, manifest };
    } catch (error) {
      signal.throwIfAborted();
      if (systemCode(error) === 'ENOSPC' || systemCode(error) === 'EDQUOT') {
        throw poolError('disk_full', `no room in ${this.#folder} for ${source.description}`, error);
      }
      throw error;
    } finally {
      await rm(incoming, { force: true });
    }
  }

  /** Keeps what somebody still needs. */
  async touch(digest: string): Promise<void> {
    const nowSeconds = this.#clock.nowMs() / 1000;
    await utimes(this.#pathOf(digest), nowSeconds, nowSeconds);
  }

  /**
   * Removes what is not among `wanted`: all but the latest, and these an hour after they were brought. What imports that
   * died left behind goes with them.
   */
  async sweep(wanted: ReadonlySet<string>): Promise<void> {
    const unwanted: { path: string; ageMs: number }[] = [];
    for (const entry of await readdir(this.#folder).catch(() => [])) {
      if (wanted.has(`sha256:${FILE.exec(entry)?.[1]}`)) continue;
      const path = join(this.#folder, entry);
      const found = await stat(path).catch(() => undefined);
      if (found) unwanted.push({ path, ageMs: this.#clock.nowMs() - found.mtimeMs });
    }
    unwanted.sort((a, b) => a.ageMs - b.ageMs);
    for (const [index, { path, ageMs }] of unwanted.entries()) {
      if (index >= UNWANTED_LIMIT || ageMs > UNWANTED_LIFETIME_MS) await rm(path, { force: true });
    }
  }

  #pathOf(digest: string): string {
    return join(this.#folder, `${digest.replace(/^sha256:/, '')}.tar`);
  }
}

async function digestOf(file: FileHandle): Promise<string> {
  const hash = createHash('sha256');
  const buffer = Buffer.alloc(1 << 20);
  for (let at = 0; ; ) {
    const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
    if (bytesRead === 0) return `sha256:${hash.digest('hex')}`;
    hash.update(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
}
