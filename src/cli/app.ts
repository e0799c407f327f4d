import { createHash, createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { defineErrors, formatBytes, messageOf } from '../base/index.ts';
import { packApplication, readApplicationKey, signApplication } from '../pool/index.ts';
import { print } from './output.ts';

const cliError = defineErrors({ wrong_usage: 400, key_unusable: 422, file_unusable: 500 });

/** `orilla app key`: a pair of keys; the public one is for the operator. */
export async function makeKey({ out }: { out: string }): Promise<void> {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const pem = publicKey.export({ type: 'spki', format: 'pem' });
  // Never over a key that is there: what it signed would be signed by nobody.
  await write(out, privateKey.export({ type: 'pkcs8', format: 'pem' }), 0o600, 'wx');
  await write(`${out}.pub`, pem, 0o644, 'wx');
  print(`${readApplicationKey(pem).id}  ${out}  (for the operator: ${out}.pub)`);
}

/** `orilla app pack`: a folder as one file, and its signature beside it. */
export async function packFolder(folder: string, { out, key }: { out: string; key?: string }): Promise<void> {
  const privateKey = key === undefined ? undefined : await readPrivateKey(key);
  const { manifest, archive } = await packApplication(resolve(folder));
  const digest = `sha256:${createHash('sha256').update(archive).digest('hex')}`;
  await write(out, archive, 0o644);
  if (privateKey) {
    await write(`${out}.sig`, `${signApplication({ digest, name: manifest.name }, privateKey)}\n`, 0o644);
  }
  print(`${digest}  ${manifest.name} ${manifest.version}  ${formatBytes(archive.length)}`);
}

async function readPrivateKey(path: string): Promise<KeyObject> {
  const unusable = (cause?: unknown) =>
    cliError(
      'key_unusable',
      `${path}: expected an Ed25519 private key, PKCS #8 in PEM; "orilla app key" makes one`,
      cause,
    );
  const pem = await readFile(path).catch((error: unknown) => {
    throw cliError('key_unusable', `cannot read ${path}: ${messageOf(error)}`, error);
  });
  try {
    const key = createPrivateKey(pem);
    if (key.asymmetricKeyType === 'ed25519') return key;
  } catch (error) {
    throw unusable(error);
  }
  throw unusable();
}

async function write(path: string, content: string | Uint8Array, mode: number, flag = 'w'): Promise<void> {
  await writeFile(path, content, { mode, flag }).catch((error: unknown) => {
    throw cliError('file_unusable', `cannot write ${path}: ${messageOf(error)}`, error);
  });
}
