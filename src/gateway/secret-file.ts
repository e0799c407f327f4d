import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
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
  const token = text.trim();
  if (/^[A-Za-z0-9._~+/-]{20,512}=*$/.test(token)) return { token, isNew };
  throw gatewayError(
    'secret_file_unusable',
    `${path}: expected one line with a token of 20 to 512 letters and digits`,
  );
}

/**
 * The gateway's own Ed25519 key, PKCS #8 in PEM; made when there is none yet.
 *
 * @throws `secret_file_unusable`
 */
export async function readOrMakeGatewayKey(path: string): Promise<KeyObject> {
  const { text } = await readOrMake(path, () =>
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

const unusable = (verb: string, path: string, error: unknown) =>
  gatewayError('secret_file_unusable', `cannot ${verb} ${path}: ${messageOf(error)}`, error);
