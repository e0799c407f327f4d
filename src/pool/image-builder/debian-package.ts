import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, rename, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { formatBytes, hasCode, messageOf } from '../../base/index.ts';
import type { runCommand } from '../../platform/process/index.ts';
import { buildError } from './errors.ts';
import { type PackageRecord, parseRecord, readRecord } from './package-record.ts';

export type RunCommand = typeof runCommand;

/** A package in the cache. */
export interface DebianPackage extends PackageRecord {
  readonly path: string;
}

/** Free space that is asked for beside the package itself: it is unpacked next to where it is kept. */
const WORK_SPACE_BYTES = 256 * 2 ** 20;
const LIST_TIMEOUT_MS = 60_000;
const DOWNLOAD_TIMEOUT_MS = 600_000;

/**
 * Debian packages, by apt from the machine's own sources: apt checks the archive's signature, this class the SHA-256.
 * Nothing is installed, and no privilege is needed.
 *
 * A package stays in the cache folder. So does what apt said of it, for machines whose package lists are empty later: what
 * was built once can be built again without a network.
 */
export class DebianPackages {
  readonly #run: RunCommand;
  readonly #cacheDirectory: string;
  readonly #architecture: string;

  /** @param architecture in Debian's words: `amd64`, `arm64`. */
  constructor(deps: { run: RunCommand }, options: { cacheDirectory: string; architecture: string }) {
    this.#run = deps.run;
    this.#cacheDirectory = options.cacheDirectory;
    this.#architecture = options.architecture;
  }

  /**
   * What apt knows of a package's newest version.
   *
   * @throws `package_unknown` when neither apt nor the cache knows it, `apt_missing` when there is no apt either.
   */
  async find(name: string, signal?: AbortSignal): Promise<PackageRecord> {
    await mkdir(this.#cacheDirectory, { recursive: true });
    const keptPath = join(this.#cacheDirectory, `${name}_${this.#architecture}.json`);
    try {
      const record = await this.#ask(name, signal);
      await writeFile(`${keptPath}.new`, `${JSON.stringify(record, null, 2)}\n`);
      await rename(`${keptPath}.new`, keptPath);
      return record;
    } catch (error) {
      const kept = hasCode(error, 'apt_missing', 'package_unknown') ? await readRecord(keptPath) : undefined;
      if (kept) return kept;
      throw error;
    }
  }

  /**
   * The package's file, from the cache when that holds this version whole.
   *
   * @throws `package_download_failed`, `package_damaged`, `disk_full`, `apt_missing`.
   */
  async fetch(record: PackageRecord, signal?: AbortSignal): Promise<DebianPackage> {
    // A colon, from the version's epoch, is written %3a as apt does.
    const file = `${record.name}_${record.version}_${record.architecture}.deb`.replaceAll(':', '%3a');
    const path = join(this.#cacheDirectory, file);
    if ((await sha256Of(path)) === record.sha256) return { ...record, path };
    await this.#requireSpace(record.sizeBytes + WORK_SPACE_BYTES);
    const folder = await mkdtemp(join(this.#cacheDirectory, '.incoming-'));
    try {
      // apt started by root downloads as its own user "_apt", who must be able to look into the folder.
      await chmod(folder, 0o755);
      await this.#download(record, folder, signal);
      const found = (await readdir(folder)).find((entry) => entry.endsWith('.deb'));
      const downloaded = join(folder, found ?? file);
      if ((await sha256Of(downloaded)) !== record.sha256) {
        throw buildError(
          'package_damaged',
          `${file} is not what apt's lists promise; run "apt-get update", build again`,
        );
      }
      await rename(downloaded, path);
      return { ...record, path };
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  async #ask(name: string, signal?: AbortSignal): Promise<PackageRecord> {
    const query = ['show', '--no-all-versions', `${name}:${this.#architecture}`];
    const { stdout } = await this.#apt('apt-cache', query, { timeoutMs: LIST_TIMEOUT_MS, signal }).catch(
      (error) => {
        throw hasCode(error, 'command_failed') ? this.#unknown(name, error) : error;
      },
    );
    // An installed package is known without lists, but then nothing tells where to fetch it.
    const record = parseRecord(stdout);
    if (!record.success) throw this.#unknown(name, record.error);
    return record.data;
  }

  async #download(record: PackageRecord, folder: string, signal?: AbortSignal): Promise<void> {
    const { name, architecture, version } = record;
    const args = ['-q', 'download', `${name}:${architecture}=${version}`];
    await this.#apt('apt-get', args, { cwd: folder, timeoutMs: DOWNLOAD_TIMEOUT_MS, signal }).catch(
      (error) => {
        if (!hasCode(error, 'command_failed', 'command_timeout')) throw error;
        throw buildError(
          'package_download_failed',
          `the Debian package ${name} ${version} could not be fetched: is this machine on-line, are apt's lists fresh ` +
            `("apt-get update")? ${messageOf(error)}`,
          error,
        );
      },
    );
  }

  async #apt(
    command: string,
    args: string[],
    { cwd, timeoutMs, signal }: { cwd?: string; timeoutMs: number; signal: AbortSignal | undefined },
  ) {
    const env = { ...process.env, LC_ALL: 'C' };
    const options = { env, timeoutMs, ...(cwd === undefined ? {} : { cwd }), ...(signal ? { signal } : {}) };
    return this.#run(command, args, options).catch((error: unknown) => {
      if (!hasCode(error, 'command_missing')) throw error;
      throw buildError(
        'apt_missing',
        `this machine has no ${command}: guest images are made from Debian packages, so build on Debian or Ubuntu`,
        error,
      );
    });
  }

  async #requireSpace(neededBytes: number): Promise<void> {
    const { bavail, bsize } = await statfs(this.#cacheDirectory);
    if (bavail * bsize >= neededBytes) return;
    throw buildError(
      'disk_full',
      `${this.#cacheDirectory} has ${formatBytes(bavail * bsize)} free, and ${formatBytes(neededBytes)} are needed`,
    );
  }

  #unknown(name: string, cause: unknown) {
    return buildError(
      'package_unknown',
      `apt does not know ${name} for ${this.#architecture}. Its package lists may be empty: run "apt-get update" as ` +
        `root. Or /etc/apt names no Debian archive that has it.`,
      cause,
    );
  }
}

/** `undefined` when there is no such file. */
async function sha256Of(path: string): Promise<string | undefined> {
  const hash = createHash('sha256');
  try {
    for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) hash.update(chunk);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  return hash.digest('hex');
}
