/**
 * The chunked coding (RFC 9112 §7.1), read strictly as it comes in pieces:
 *
 *     chunked-body = *( 1*HEXDIG [ chunk-ext ] CR LF  octets  CR LF )  1*"0" [ chunk-ext ] CR LF  trailers  CR LF
 *
 * Extensions are read over, within a limit: nobody downstream gets them. Trailers are kept when they are such that may be
 * passed on.
 * @module
 */
import {
  INCOMPLETE,
  octetTable,
  readFieldSection,
  SpecialFields,
  scanFieldSection,
  TOKEN_OCTETS,
} from './field-section.ts';
import { GATEWAY_FIELDS, GATEWAY_PREFIXES } from './gateway-fields.ts';

/** Of all chunks of a body. */
const EXTENSION_LIMIT_BYTES = 4096;
const TRAILER_LIMIT_BYTES = 8 * 1024;
/** 13 hexadecimal digits are less than 2^52. */
const SIZE_DIGITS_LIMIT = 13;

const CR = 0x0d;
const LF = 0x0a;
const SEMICOLON = 0x3b;
const EQUALS = 0x3d;
const BACKSLASH = 0x5c;
const NO_OCTETS = Buffer.alloc(0);
const QUOTE = 0x22;
const EXTENSION_OCTETS = octetTable(
  (octet) => TOKEN_OCTETS[octet] === 1 || octet === SEMICOLON || octet === EQUALS,
);
const QUOTED_OCTETS = octetTable((octet) => octet >= 0x20 && octet < 0x7f);

/**
 * What frames, addresses or authenticates a message has no place behind its body (RFC 9110 §6.5.1). What would frame it
 * anew is not even read over.
 */
export const TRAILER_FIELDS = new SpecialFields(
  {
    connection: 'connection',
    'content-length': 'content-length',
    'transfer-encoding': 'transfer-encoding',
    ...GATEWAY_FIELDS,
    ...Object.fromEntries(
      [
        ...['authorization', 'cache-control', 'content-encoding', 'content-range'],
        ...['content-type', 'cookie', 'expect', 'host', 'keep-alive', 'max-forwards', 'pragma', 'range'],
        ...['proxy-authorization', 'proxy-connection', 'set-cookie', 'te', 'trailer', 'upgrade'],
        'www-authenticate',
      ].map((name) => [name, 'drop'] as const),
    ),
  },
  GATEWAY_PREFIXES,
);

/** What a piece of a chunked body held. */
export interface ChunkSink {
  /** Octets of the body, valid during the call. */
  onData(octets: Buffer): void;
}

type Part = 'size' | 'extension' | 'size-lf' | 'data' | 'data-cr' | 'data-lf' | 'trailers' | 'over';

/** Reads one body. */
export class ChunkedReader {
  #part: Part = 'size';
  #left = 0;
  #digits = 0;
  #extensionBytes = 0;
  #isQuoted = false;
  /** Behind a semicolon an extension has to have a name. */
  #isNameless = false;
  #isEscaped = false;
  #unread: Buffer = NO_OCTETS;
  /** The trailers that are passed on, each with its CR LF; there when the body is over. */
  trailers = '';

  get isOver(): boolean {
    return this.#part === 'over';
  }

  /**
   * Takes the next octets, gives their data to `sink`, and stops behind the body's end.
   *
   * @returns how many octets were of this body; -1 when they are not as they must be.
   */
  read(octets: Buffer, sink: ChunkSink): number {
    let at = 0;
    while (at < octets.length) {
      const octet = octets[at] as number;
      switch (this.#part) {
        case 'size': {
          const value = hexDigit(octet);
          if (value >= 0) {
            this.#digits += 1;
            if (this.#digits > SIZE_DIGITS_LIMIT) return -1;
            this.#left = this.#left * 16 + value;
          } else if (this.#digits === 0) return -1;
          else if (octet === CR) this.#part = 'size-lf';
          else if (octet === SEMICOLON) {
            this.#part = 'extension';
            this.#isNameless = true;
          } else return -1;
          at += 1;
          break;
        }
        case 'extension':
          this.#extensionBytes += 1;
          if (this.#isEscaped && QUOTED_OCTETS[octet] === 1) this.#isEscaped = false;
          else if (octet === BACKSLASH && this.#isQuoted) this.#isEscaped = true;
          else if (octet === QUOTE) this.#isQuoted = !this.#isQuoted;
          else if (this.#isNameless && (octet === CR || octet === SEMICOLON)) return -1;
          else if (octet === CR && !this.#isQuoted) this.#part = 'size-lf';
          else if ((this.#isQuoted ? QUOTED_OCTETS : EXTENSION_OCTETS)[octet] !== 1) return -1;
          this.#isNameless = octet === SEMICOLON && !this.#isQuoted;
          if (this.#extensionBytes > EXTENSION_LIMIT_BYTES) return -1;
          at += 1;
          break;
        case 'size-lf':
          if (octet !== LF) return -1;
          this.#part = this.#left === 0 ? 'trailers' : 'data';
          this.#digits = 0;
          at += 1;
          break;
        case 'data': {
          const count = Math.min(this.#left, octets.length - at);
          sink.onData(at === 0 && count === octets.length ? octets : octets.subarray(at, at + count));
          this.#left -= count;
          at += count;
          if (this.#left === 0) this.#part = 'data-cr';
          break;
        }
        case 'data-cr':
          if (octet !== CR) return -1;
          this.#part = 'data-lf';
          at += 1;
          break;
        case 'data-lf':
          if (octet !== LF) return -1;
          this.#part = 'size';
          at += 1;
          break;
        case 'trailers':
          return this.#readTrailers(octets, at);
        case 'over':
          return at;
      }
    }
    return at;
  }

  #readTrailers(octets: Buffer, at: number): number {
    const before = this.#unread.length;
    const section = Buffer.concat([this.#unread, octets.subarray(at)]);
    const end = scanFieldSection(section, 0);
    if (end === INCOMPLETE && section.length <= TRAILER_LIMIT_BYTES) {
      this.#unread = section;
      return octets.length;
    }
    if (end <= 0 || end > TRAILER_LIMIT_BYTES) return -1;
    const fields = readFieldSection(section, section.toString('latin1', 0, end), 0, TRAILER_FIELDS);
    const { contentLength, transferEncoding, connection } = fields;
    if (contentLength !== undefined || transferEncoding !== undefined || connection !== '') return -1;
    this.trailers = fields.kept;
    this.#part = 'over';
    return at + end - before;
  }
}

function hexDigit(octet: number): number {
  if (octet >= 0x30 && octet <= 0x39) return octet - 0x30;
  const lower = octet | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}
