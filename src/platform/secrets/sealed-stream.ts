/**
 * A stream of octets that nobody without the master key can read, nor change, cut, or put together anew unnoticed:
 *
 *      0  magic "OrillaSd"
 *      8  version: 1, four octets, big endian
 *     12  salt: 32 random octets
 *     44  records, each of 1 MiB of ciphertext and a tag of 16 octets; the last one has 0 to 1 MiB
 *
 * Each stream has a key of its own: HKDF-SHA256 of the master key, the salt, and "orilla sealed stream: " with what the
 * stream is for, so that one cannot take another's place. A record is AES-256-GCM (NIST SP 800-38D) with the header as
 * associated data and as its nonce
 *
 *      0  1 in the last record, 0 in the others
 *      1  zeros
 *      4  the record's number from 0, eight octets, big endian
 *
 * A record is given out when it is found good; that the stream has all of them is known at its end and not before.
 * @module
 */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import type { Random } from '../../base/index.ts';
import { secretsError } from './errors.ts';
import type { MasterKey } from './master-key.ts';

const MAGIC = Buffer.from('OrillaSd\0\0\0\u0001', 'latin1');
const SALT_BYTES = 32;
const HEADER_BYTES = MAGIC.length + SALT_BYTES;
const RECORD_BYTES = 2 ** 20;
const TAG_BYTES = 16;
const CIPHER = 'aes-256-gcm';

/** @param purpose what the stream is for: `unseal` has to be given the same. */
export async function* seal(
  plain: AsyncIterable<Uint8Array>,
  masterKey: MasterKey,
  purpose: string,
  random: Random,
): AsyncGenerator<Buffer> {
  const header = Buffer.concat([MAGIC, random.bytes(SALT_BYTES)]);
  const key = keyOf(masterKey, header, purpose);
  yield header;
  let number = 0;
  let isEmpty = true;
  for await (const { octets, isLast } of cut(plain, RECORD_BYTES, RECORD_BYTES)) {
    isEmpty = false;
    yield sealRecord(octets, isLast);
    number += 1;
  }
  if (isEmpty) yield sealRecord(Buffer.alloc(0), true);

  function sealRecord(octets: Buffer, isLast: boolean): Buffer {
    const cipher = createCipheriv(CIPHER, key, nonceOf(number, isLast)).setAAD(header);
    return Buffer.concat([cipher.update(octets), cipher.final(), cipher.getAuthTag()]);
  }
}

/** @throws `sealed_data_damaged`, also when the master key or the purpose is another. */
export async function* unseal(
  sealed: AsyncIterable<Uint8Array>,
  masterKey: MasterKey,
  purpose: string,
): AsyncGenerator<Buffer> {
  let opener: ((octets: Buffer, isLast: boolean) => Buffer) | undefined;
  let isWhole = false;
  for await (const { octets, isLast } of cut(sealed, HEADER_BYTES, RECORD_BYTES + TAG_BYTES)) {
    if (opener) {
      yield opener(octets, isLast);
      isWhole = isLast;
    } else {
      opener = openerOf(Buffer.from(octets), masterKey, purpose);
    }
  }
  if (!isWhole) throw damaged('it ends too early');
}

/** What opens the records behind this header, one after the other. */
function openerOf(header: Buffer, masterKey: MasterKey, purpose: string) {
  if (header.length < HEADER_BYTES || !header.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw damaged('it does not begin as one');
  }
  const key = keyOf(masterKey, header, purpose);
  let number = 0;
  return (octets: Buffer, isLast: boolean): Buffer => {
    const end = octets.length - TAG_BYTES;
    if (end < 0) throw damaged('it ends too early');
    const decipher = createDecipheriv(CIPHER, key, nonceOf(number, isLast), { authTagLength: TAG_BYTES });
    decipher.setAAD(header).setAuthTag(octets.subarray(end));
    const plain = decipher.update(octets.subarray(0, end));
    try {
      decipher.final();
    } catch (cause) {
      throw damaged(`record ${number} is not what was written, or the master key is another`, cause);
    }
    number += 1;
    return plain;
  };
}

/** Pieces of `size` octets, the first one of `firstSize`; the last may be shorter. A piece is good until the next one. */
async function* cut(
  chunks: AsyncIterable<Uint8Array>,
  firstSize: number,
  size: number,
): AsyncGenerator<{ readonly octets: Buffer; readonly isLast: boolean }> {
  const piece = Buffer.allocUnsafe(Math.max(firstSize, size));
  let wanted = firstSize;
  let filled = 0;
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length; ) {
      // Only what follows shows that a piece was not the last.
      if (filled === wanted) {
        yield { octets: piece.subarray(0, filled), isLast: false };
        filled = 0;
        wanted = size;
      }
      const part = chunk.subarray(at, at + wanted - filled);
      piece.set(part, filled);
      filled += part.length;
      at += part.length;
    }
  }
  if (filled > 0) yield { octets: piece.subarray(0, filled), isLast: true };
}

const keyOf = (masterKey: MasterKey, header: Buffer, purpose: string): Uint8Array =>
  masterKey.derive(header.subarray(MAGIC.length), `orilla sealed stream: ${purpose}`);

function nonceOf(number: number, isLast: boolean): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUInt8(isLast ? 1 : 0, 0);
  nonce.writeBigUInt64BE(BigInt(number), 4);
  return nonce;
}

const damaged = (fault: string, cause?: unknown) =>
  secretsError('sealed_data_damaged', `sealed data is damaged: ${fault}`, cause);
