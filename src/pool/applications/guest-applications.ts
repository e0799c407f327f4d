import { createReadStream } from 'node:fs';
import { poolError } from '../errors.ts';
import type { GuestCommands } from '../guest-commands/guest-commands.ts';
import type { ImageManifest } from '../schema.ts';
import type { ApplicationManifest } from './application-manifest.ts';
import type { StoredApplication } from './application-store.ts';

/** Unpacking 64 MiB on an emulated processor. */
const UNPACK_LIMIT_MS = 120_000;
/** Ending what runs takes at most `stopLimitS`, 30 s, and then some. */
const CHANGE_LIMIT_MS = 60_000;
const ASK_LIMIT_MS = 20_000;
const OUTPUT_LIMIT_BYTES = 64 * 1024;
/** As much of a program's last words as a person reads in a message. */
const WORDS_LIMIT = 1000;
const READ_BYTES = 96 * 1024;
/** A name of ours in the guest. */
const INCOMING = '/tmp/orilla-application.tar';

/** What the program of an image that takes applications does; the contract is in `docs/pool.md`. */
export class GuestApplications {
  readonly #commands: GuestCommands;
  readonly #program: string;
  readonly #signal: AbortSignal;

  /** @throws `applications_unsupported` when the image takes none. */
  constructor(commands: GuestCommands, { name, applications }: ImageManifest, signal: AbortSignal) {
    if (!applications) {
      throw poolError('applications_unsupported', `the image ${name} takes no applications while it runs`);
    }
    this.#commands = commands;
    this.#program = applications.program;
    this.#signal = signal;
  }

  /** The digest of what was started last; undefined when the image's own server serves. */
  async running(): Promise<string | undefined> {
    const digits = (await this.#call(['running'], ASK_LIMIT_MS)).trim();
    return /^[0-9a-f]{64}$/.test(digits) ? `sha256:${digits}` : undefined;
  }

  async unpack({ digest, path }: StoredApplication): Promise<void> {
    await this.#commands.writeFile(
      INCOMING,
      createReadStream(path, { highWaterMark: READ_BYTES }),
      this.#signal,
    );
    await this.#call(['unpack', digits(digest), INCOMING], UNPACK_LIMIT_MS);
  }

  /** Puts what is unpacked in the place of what serves. */
  async start({ digest, manifest }: StoredApplication): Promise<void> {
    const stopLimit = String(manifest.stopLimitS);
    await this.#call(['start', digits(digest), stopLimit, ...serviceOf(manifest)], CHANGE_LIMIT_MS);
  }

  /** Puts the image's own server back. */
  async stop(): Promise<void> {
    await this.#call(['stop'], CHANGE_LIMIT_MS);
  }

  /** Removes what was unpacked, but this. */
  async keep(digest?: string): Promise<void> {
    await this.#call(['keep', ...(digest === undefined ? [] : [digits(digest)])], ASK_LIMIT_MS);
  }

  /** The end of what the application wrote. */
  async lastWords(): Promise<string> {
    return (await this.#call(['logs'], ASK_LIMIT_MS)).trim().slice(-WORDS_LIMIT);
  }

  async #call(args: readonly string[], limitMs: number): Promise<string> {
    const { status, stdout, stderr } = await this.#commands.exec([this.#program, ...args], {
      limitMs,
      outputLimitBytes: OUTPUT_LIMIT_BYTES,
      signal: this.#signal,
    });
    if (status === 0) return Buffer.from(stdout).toString();
    const words = Buffer.from(stderr).toString().trim().slice(-WORDS_LIMIT);
    throw poolError(
      'application_failed',
      `${this.#program} ${args[0]} in the guest ended with ${status}: ${words}`,
    );
  }
}

/** How it serves, as arguments: no text of the manifest is read by a shell. */
function serviceOf({ static: folder, run = [], env }: ApplicationManifest): string[] {
  if (folder !== undefined) return ['static', folder];
  return ['run', ...Object.entries(env).map(([name, value]) => `${name}=${value}`), ...run];
}

const digits = (digest: string): string => digest.replace(/^sha256:/, '');
