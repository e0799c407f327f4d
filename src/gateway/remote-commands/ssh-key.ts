import { timingSafeEqual } from 'node:crypto';
import ssh2 from 'ssh2';

/** Without the older ones that rest on SHA-1, and RSA, whose keys are of any length. */
const TYPES: ReadonlySet<string> = new Set([
  'ssh-ed25519',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
]);

export const AN_SSH_KEY =
  'expected a line as in an authorized_keys file, without options: "ssh-ed25519 AAAA… comment", or ecdsa-sha2-nistp256, -384 or -521';

/** Whether it is a public key in the form of a line of `authorized_keys` (sshd(8)), of a kind that is taken. */
export function isSshKey(line: string): boolean {
  const [, type = '', data = ''] = LINE.exec(line) ?? [];
  if (!TYPES.has(type)) return false;
  const key = ssh2.utils.parseKey(`${type} ${data}`);
  return !(key instanceof Error) && !key.isPrivateKey() && key.type === type;
}

const LINE = /^([a-z0-9-]{1,32}) ([A-Za-z0-9+/]{16,700}={0,2})(?: [\u0020-\u007E]{0,255})?$/;

/** What somebody shows who wants to log in by a key (RFC 4252 §7). */
export interface ShownKey {
  readonly algorithm: string;
  /** The public key as it goes over the wire. */
  readonly data: Buffer;
  /** Absent when only asked whether this key would do. */
  readonly proof?: { readonly signed: Buffer; readonly signature: Buffer } | undefined;
}

/** Whether the key is one of `lines`, and whoever shows it holds it. */
export function isAuthorized(lines: readonly string[], { algorithm, data, proof }: ShownKey): boolean {
  const line = lines.find((candidate) => {
    const [type, encoded = ''] = candidate.split(' ');
    const own = Buffer.from(encoded, 'base64');
    return type === algorithm && own.length === data.length && timingSafeEqual(own, data);
  });
  if (line === undefined) return false;
  if (!proof) return true;
  const key = ssh2.utils.parseKey(line);
  return !(key instanceof Error) && key.verify(proof.signed, proof.signature);
}
