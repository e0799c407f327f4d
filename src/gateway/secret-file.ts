import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { messageOf, type Random, systemCode } from '../base/index.ts';
import { newToken } from '../trust/index.ts';
import { gatewayError } from './errors.ts';

/**
 * The token of an origin, out of the file that holds it; made when there is none yet. The operator hands the file's content
 * to the origin's provider.
 *
 * @throws `secret_file_unusable`
 */
export async function readOrMakeToken(
  random: Random,
  path: string,
): Promise<{ token: string; isNew: boolean }> {
  const { text, isNew } = await readOrMake(path, () => newToken(random));
  return { token: tokenIn(path, text), isNew };
}

/**
 * The token in a file that may not be there.
 *
 * @throws `secret_file_unusable`
 */
export async function readToken(path: string): Promise<string | undefined> {
  try {
    return tokenIn(path, await readFile(path, 'utf8'));
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error instanceof Error && 'syscall' in error ? unusable('read', path, error) : error;
  }
}

/**
 * Writes a new token in place of what is there, if anything: after a crash the file holds the old one or the new.
 *
 * @throws `secret_file_unusable`
 */
export async function replaceToken(random: Random, path: string): Promise<string> {
  const token = newToken(random);
  const fresh = `${path}.new`;
  try {
    await mkdir(dirname(path), { recursive: true });
    // A file that a crash has left may have another mode: not written over, but made anew.
    await rm(fresh, { force: true });
    await writeFile(fresh, `${token}\n`, { flag: 'wx', mode: 0o600, flush: true });
  } catch (error) {
    throw unusable('write', fresh, error);
  }
  await moveSecret(fresh, path);
  return token;
}

/** Puts the file in the place of another, for good. @throws `secret_file_unusable` */
export async function moveSecret(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
    await flushFolder(dirname(to));
  } catch (error) {
    throw unusable('write', to, error);
  }
}

/** Removes the file if it is there, for good. @throws `secret_file_unusable` */
export async function removeSecret(path: string): Promise<void> {
  try {
    await rm(path);
    await flushFolder(dirname(path));
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw unusable('remove', path, error);
  }
}

/**
 * The gateway's own Ed25519 key, PKCS #8 in PEM; made when there is none yet.
 *
 * @throws `secret_file_unusable`
 */
export async function readOrMakeGatewayKey(path: string): Promise<KeyObject> {
  const text = await readOrMakeSecret(path, () =>
    generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }),
  );
  try {
    const key = createPrivateKey(text);
    if (key.asymmetricKeyType === 'ed25519') return key;
  } catch {
    // Told below: not a key at all, or not of this kind.
  }
  throw gatewayError('secret_file_unusable', `${path}: expected an Ed25519 key, PKCS #8 in PEM`);
}

/** What a file holds that only its owner can read; made when there is none yet. @throws `secret_file_unusable` */
export async function readOrMakeSecret(path: string, make: () => string): Promise<string> {
  return (await readOrMake(path, make)).text;
}

function tokenIn(path: string, text: string): string {
  const token = text.trim();
  if (/^[A-Za-z0-9._~+/-]{20,512}=*$/.test(token)) return token;
  throw gatewayError(
    'secret_file_unusable',
    `${path}: expected one line with a token of 20 to 512 letters and digits`,
  );
}

/** A file that only its owner can read. Of two processes that make it at once one wins, and both read the same. */
async function readOrMake(path: string, make: () => string): Promise<{ text: string; isNew: boolean }> {
  try {
    await mkdir(dirname(path), { recursive: true });
    const text = `${make().trim()}\n`;
    await writeFile(path, text, { flag: 'wx', mode: 0o600, flush: true });
    return { text, isNew: true };
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw unusable('write', path, error);
  }
  try {
    return { text: await readFile(path, 'utf8'), isNew: false };
  } catch (error) {
    throw unusable('read', path, error);
  }
}

/** A name in a folder is on the disk once the folder is (fsync(2)). */
async function flushFolder(path: string): Promise<void> {
  await using folder = await open(path, 'r');
  await folder.sync();
}

const unusable = (verb: string, path: string, error: unknown) =>
  gatewayError('secret_file_unusable', `cannot ${verb} ${path}: ${messageOf(error)}`, error);
