import { createHash, generateKeyPairSync } from 'node:crypto';
import ssh2 from 'ssh2';
import { gatewayError } from '../errors.ts';
import { readOrMakeSecret } from '../secret-file.ts';
import { opensshKey } from './openssh-key.ts';

/** By which clients know this gateway. */
export interface SshHostKey {
  /** In the format of OpenSSH: secret. */
  readonly privateKey: string;
  /** As `ssh-keygen -l` shows it. */
  readonly fingerprint: string;
}

/** The key in a file, made when there is none yet. @throws `secret_file_unusable` */
export async function readOrMakeSshHostKey(path: string): Promise<SshHostKey> {
  const privateKey = await readOrMakeSecret(
    path,
    () => opensshKey(generateKeyPairSync('ed25519').privateKey).privateKey,
  );
  const key = ssh2.utils.parseKey(privateKey);
  if (key instanceof Error || !key.isPrivateKey() || key.type !== 'ssh-ed25519') {
    throw gatewayError(
      'secret_file_unusable',
      `${path}: expected an Ed25519 key without passphrase, as "ssh-keygen -t ed25519" makes it`,
    );
  }
  const digest = createHash('sha256').update(key.getPublicSSH()).digest('base64').replace(/=+$/, '');
  return { privateKey, fingerprint: `SHA256:${digest}` };
}
