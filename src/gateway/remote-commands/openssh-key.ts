/**
 * An Ed25519 key in the format of OpenSSH (its PROTOCOL.key), without a passphrase: base64, between two lines of PEM, of
 *
 *     "openssh-key-v1" NUL   string "none"   string "none"   string ""   uint32 1
 *     string: the public key          string "ssh-ed25519"  string <32 octets>
 *     string: the rest                uint32 check  uint32 check  string "ssh-ed25519"  string <32 octets>
 *                                     string <32 octets of seed, 32 of public key>  string comment  1 2 3 … up to 8
 *
 * where a string is its length in four octets, and its octets. (ssh2 can make keys too, but of some hundred one is broken: it
 * takes zeros away with which a key may begin.)
 * @module
 */
import type { KeyObject } from 'node:crypto';

export interface OpensshKey {
  /** The file's content: secret. */
  readonly privateKey: string;
  /** As a line of `authorized_keys`. */
  readonly publicKey: string;
}

const TYPE = 'ssh-ed25519';
/** The rest ends at a multiple of this: the block size of "none". */
const BLOCK_BYTES = 8;

/** @param key an Ed25519 private key. */
export function opensshKey(key: KeyObject): OpensshKey {
  const { x = '', d = '' } = key.export({ format: 'jwk' });
  const [point, seed] = [Buffer.from(x, 'base64url'), Buffer.from(d, 'base64url')];
  const publicKey = Buffer.concat([text(TYPE), text(point)]);
  // Both checks only have to be the same: they show that a passphrase was right.
  const open = Buffer.concat([uint32(0), uint32(0), publicKey, text(Buffer.concat([seed, point])), text('')]);
  const missing = (BLOCK_BYTES - (open.length % BLOCK_BYTES)) % BLOCK_BYTES;
  const rest = Buffer.concat([open, Buffer.from(Array.from({ length: missing }, (_, at) => at + 1))]);
  const head = [Buffer.from('openssh-key-v1\0'), text('none'), text('none'), text(''), uint32(1)];
  const lines = Buffer.concat([...head, text(publicKey), text(rest)])
    .toString('base64')
    .replace(/.{70}/g, '$&\n');
  return {
    privateKey: `-----BEGIN OPENSSH PRIVATE KEY-----\n${lines}\n-----END OPENSSH PRIVATE KEY-----\n`,
    publicKey: `${TYPE} ${publicKey.toString('base64')}`,
  };
}

function uint32(value: number): Buffer {
  const octets = Buffer.alloc(4);
  octets.writeUInt32BE(value);
  return octets;
}

const text = (content: string | Buffer): Buffer =>
  Buffer.concat([uint32(content.length), typeof content === 'string' ? Buffer.from(content) : content]);
