/**
 * The name of the server out of a TLS ClientHello, which is all that is read of a connection that is passed on untouched:
 *
 *     record      type 22 (1) · version (2) · length (2) · fragment            RFC 8446 §5.1; a message may span several
 *     handshake   type 1 (1) · length (3) · ClientHello                         §4
 *     ClientHello version (2) · random (32) · session id <1> · cipher suites <2> · compression <1> · extensions <2>
 *     extension   type (2) · length (2) · data
 *     server_name type 0: list <2> of: name type 0 (1) · host name <2>          RFC 6066 §3
 *
 * `<n>`: as many octets as the n octets before it say. Strict: what another server could read differently is refused.
 * @module
 */

/** `undefined` while it is not whole. */
export type ClientHello =
  | { readonly kind: 'named'; readonly serverName: string }
  | { readonly kind: 'refused'; readonly reason: string };

/** With its records' heads. Key shares of 2 KiB are common; what is longer than this is no browser. */
export const CLIENT_HELLO_LIMIT_BYTES = 16 * 1024;

const RECORD_HEAD_BYTES = 5;
const RECORD_LIMIT_BYTES = 2 ** 14;
const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const SERVER_NAME = 0;
const HOST_NAME = 0;

/** Reads the hello at the beginning of a connection. */
export function readClientHello(octets: Buffer): ClientHello | undefined {
  const message = messageIn(octets);
  if (message === undefined) {
    return octets.length >= CLIENT_HELLO_LIMIT_BYTES ? refused('its ClientHello is too long') : undefined;
  }
  if (typeof message === 'string') return refused(message);
  try {
    const names = serverNames(message);
    const [name = ''] = names;
    if (names.length !== 1) return refused('its ClientHello names no server');
    return HOST.test(name) && !/^[\d.]+$/.test(name)
      ? { kind: 'named', serverName: name.toLowerCase() }
      : refused('its ClientHello names no server');
  } catch {
    return refused('what it sent is no ClientHello');
  }
}

const HOST = /^(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]*[a-z0-9])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9])?)*$/i;

const refused = (reason: string): ClientHello => ({ kind: 'refused', reason });

/** The ClientHello without its frames; a sentence when it is none. */
function messageIn(octets: Buffer): Buffer | string | undefined {
  const fragments: Buffer[] = [];
  let gatheredBytes = 0;
  for (let at = 0; ; ) {
    if (at < octets.length && octets[at] !== HANDSHAKE) return 'what it sent is no TLS';
    if (at + 1 < octets.length && octets[at + 1] !== 3) return 'what it sent is no TLS';
    if (octets.length < at + RECORD_HEAD_BYTES) return undefined;
    const lengthBytes = octets.readUInt16BE(at + 3);
    if (lengthBytes === 0 || lengthBytes > RECORD_LIMIT_BYTES) return 'what it sent is no TLS';
    const fragment = octets.subarray(at + RECORD_HEAD_BYTES, at + RECORD_HEAD_BYTES + lengthBytes);
    if (fragments.length === 0 && fragment.length > 0 && fragment[0] !== CLIENT_HELLO) {
      return 'what it sent is no ClientHello';
    }
    fragments.push(fragment);
    gatheredBytes += fragment.length;
    at += RECORD_HEAD_BYTES + lengthBytes;
    if (gatheredBytes < 4) {
      if (octets.length < at) return undefined;
      continue;
    }
    const gathered = Buffer.concat(fragments);
    const wantedBytes = 4 + gathered.readUIntBE(1, 3);
    if (wantedBytes > CLIENT_HELLO_LIMIT_BYTES) return 'its ClientHello is too long';
    if (gatheredBytes >= wantedBytes) return gathered.subarray(4, wantedBytes);
    if (octets.length < at) return undefined;
  }
}

/** @throws RangeError when a length leads beyond the end. */
function serverNames(hello: Buffer): string[] {
  const reader = new Reader(hello);
  reader.take(2 + 32);
  reader.vector(1);
  reader.vector(2);
  reader.vector(1);
  if (reader.isAtEnd) return [];
  const extensions = new Reader(reader.vector(2));
  if (!reader.isAtEnd) throw new RangeError('octets behind the extensions');
  const names: string[] = [];
  while (!extensions.isAtEnd) {
    const type = extensions.number(2);
    const data = extensions.vector(2);
    if (type !== SERVER_NAME) continue;
    const outer = new Reader(data);
    const list = new Reader(outer.vector(2));
    if (!outer.isAtEnd) throw new RangeError('octets behind the list of names');
    while (!list.isAtEnd) {
      if (list.number(1) !== HOST_NAME) throw new RangeError('a name that is no host name');
      names.push(list.vector(2).toString('latin1'));
    }
  }
  return names;
}

/** Takes a buffer apart from its beginning. */
class Reader {
  readonly #octets: Buffer;
  #at = 0;

  constructor(octets: Buffer) {
    this.#octets = octets;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#octets.length;
  }

  take(count: number): Buffer {
    if (this.#at + count > this.#octets.length) throw new RangeError('too short');
    this.#at += count;
    return this.#octets.subarray(this.#at - count, this.#at);
  }

  number(count: number): number {
    return this.take(count).readUIntBE(0, count);
  }

  /** What a length of so many octets stands before. */
  vector(lengthOctets: number): Buffer {
    return this.take(this.number(lengthOctets));
  }
}
