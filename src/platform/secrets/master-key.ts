import { createSecretKey, hkdfSync, type KeyObject } from 'node:crypto';
import { link, open, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CodedError, messageOf, type Random, randomId, systemCode } from '../../base/index.ts';
import { secretsError } from './errors.ts';

const KEY_BYTES = 32;
/** Whoever but the owner might read or write it. */
const OTHERS = 0o077;

/** From it every other key of this Orilla for what lies on its disks is made. It never leaves this object. */
export class MasterKey {
  readonly #key: KeyObject;

  /** @param octets 32 of them, as good as random. */
  constructor(octets: Uint8Array) {
    this.#key = createSecretKey(octets);
  }

  /**
   * The key in a file, which holds its 32 octets and nothing else; made when there is none. Of two processes that make it
   * at once one wins, and both read the same.
   *
   * @throws `master_key_unusable`
   */
  static async readOrMake(random: Random, path: string): Promise<MasterKey> {
    try {
      const present = await readKey(path);
      if (present) return new MasterKey(present);
      await makeKey(random, path);
      const made = await readKey(path);
      if (made) return new MasterKey(made);
      throw unusable(path, 'is a link that leads nowhere');
    } catch (error) {
      if (error instanceof CodedError) throw error;
      throw unusable(path, messageOf(error), error);
    }
  }

  /** A key of 32 octets for one purpose (RFC 5869, HKDF with SHA-256). */
  derive(salt: Uint8Array, purpose: string): Uint8Array {
    return new Uint8Array(hkdfSync('sha256', this.#key, salt, purpose, KEY_BYTES));
  }
}

/** `undefined` when there is no such file. */
async function readKey(path: string): Promise<Uint8Array | undefined> {
  const handle = await open(path).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (!handle) return undefined;
  try {
    const status = await handle.stat();
    if (!status.isFile()) throw unusable(path, 'is no file');
    if ((status.mode & OTHERS) !== 0) {
      throw unusable(path, 'is open to others than its owner; if nobody has read it, chmod 600 it');
    }
    if (status.size !== KEY_BYTES) {
      throw unusable(path, `has ${status.size} octets instead of ${KEY_BYTES}; put the right one back`);
    }
    return await handle.readFile();
  } finally {
    await handle.close();
  }
}

/** It appears whole and on the disk, and never in the place of another: what was sealed with that would be lost. */
async function makeKey(random: Random, path: string): Promise<void> {
  const fresh = `${path}.${randomId(random, 8)}.new`;
  try {
    await writeFile(fresh, random.bytes(KEY_BYTES), { flag: 'wx', mode: 0o600, flush: true });
    await link(fresh, path).catch((error: unknown) => {
      if (systemCode(error) !== 'EEXIST') throw error;
    });
  } finally {
    await rm(fresh, { force: true });
  }
  await using folder = await open(dirname(path));
  await folder.sync();
}

const unusable = (path: string, fault: string, cause?: unknown) =>
  secretsError('master_key_unusable', `the master key ${path}: ${fault}`, cause);
