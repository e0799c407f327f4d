import { METHODS } from 'node:http';
import {
  INCOMPLETE,
  octetTable,
  readFieldSection,
  SpecialFields,
  scanFieldSection,
  TOKEN_OCTETS,
  TOO_MANY,
} from './field-section.ts';
import { GATEWAY_FIELDS, GATEWAY_PREFIXES } from './gateway-fields.ts';
import { bodyLength } from './message-length.ts';

/** Request line and fields together. */
export const HEAD_LIMIT_BYTES = 16 * 1024;

/** The head of a request (RFC 9112 §3), and what it says of its body and connection. */
export interface RequestHead {
  readonly kind: 'request';
  readonly method: string;
  /** As it stands in the request line. */
  readonly target: string;
  readonly isHttp10: boolean;
  readonly host: string | undefined;
  /** The fields that are passed on, each with its CR LF. */
  readonly kept: string;
  /** In octets, 0 when there is no body, or `CHUNKED`. */
  readonly bodyLength: number;
  readonly keepsConnection: boolean;
  readonly expectsContinue: boolean;
  /** A WebSocket's opening handshake (RFC 6455 §4.1). Every other `Upgrade` is dropped, and the request goes on as HTTP. */
  readonly isWebSocket: boolean;
  /** Where its body begins. */
  readonly end: number;
}

/** Why a head is not taken, and the status to answer with. The connection ends behind the answer. */
export interface Refusal {
  readonly kind: 'refusal';
  readonly status: 400 | 414 | 417 | 431 | 501 | 505;
  readonly reason: string;
}

/** Fields of a request that are not simply passed on, whichever version of HTTP it came by. */
export const REQUEST_FIELDS = new SpecialFields(
  {
    connection: 'connection',
    'content-length': 'content-length',
    expect: 'expect',
    host: 'host',
    'transfer-encoding': 'transfer-encoding',
    upgrade: 'upgrade',
    // RFC 9110 §7.6.1
    'http2-settings': 'drop',
    'keep-alive': 'drop',
    'proxy-authenticate': 'drop',
    'proxy-authorization': 'drop',
    'proxy-connection': 'drop',
    te: 'drop',
    ...GATEWAY_FIELDS,
  },
  GATEWAY_PREFIXES,
);

export const KNOWN_METHODS: ReadonlySet<string> = new Set(METHODS);
const SPACE = 0x20;
const CR = 0x0d;
const LF = 0x0a;
const METHOD_LIMIT = 20;
export const TARGET_LIMIT = 8 * 1024;
/** A fragment is never sent (RFC 9112 §3.2). */
const HASH = 0x23;
const TARGET_OCTETS = octetTable((octet) => octet > 0x20 && octet < 0x7f && octet !== HASH);
/** ` HTTP/1.` */
const VERSION = [0x20, 0x48, 0x54, 0x54, 0x50, 0x2f, 0x31, 0x2e];

/** Reads the head at the beginning of `octets`; `undefined` while it is not whole and not yet wrong. */
export function parseRequestHead(octets: Buffer): RequestHead | Refusal | undefined {
  // One empty line before a request is forgiven (RFC 9112 §2.2).
  if (octets[0] === CR && octets.length === 1) return undefined;
  const begin = octets[0] === CR && octets[1] === LF ? 2 : 0;
  const line = scanRequestLine(octets, begin);
  if (line === undefined) return tooLong(octets);
  if ('kind' in line) return line;
  const end = scanFieldSection(octets, line.end);
  if (end === INCOMPLETE) return tooLong(octets);
  if (end === TOO_MANY) return refuse(431, 'too many fields');
  if (end < 0) return refuse(400, 'a malformed field');
  if (end > HEAD_LIMIT_BYTES) return refuse(431, 'the head is too long');

  const text = octets.toString('latin1', begin, end);
  const method = text.slice(0, line.methodEnd - begin);
  if (!KNOWN_METHODS.has(method)) return refuse(501, 'an unknown method');
  const fields = readFieldSection(octets, text, begin, REQUEST_FIELDS);
  const length = bodyLength(fields, line.isHttp10);
  if (typeof length === 'string') return refuse(400, length);
  if (method === 'TRACE' && length !== undefined) return refuse(400, 'a TRACE with a body');
  if (fields.expect !== '' && fields.expect !== '100-continue') {
    return refuse(417, 'an expectation other than 100-continue');
  }
  if (fields.host === undefined && !line.isHttp10) return refuse(400, 'no Host');
  const { connection } = fields;
  const upgradesToWebSocket =
    fields.upgrade === 'websocket' && method === 'GET' && !line.isHttp10 && hasWord(connection, 'upgrade');
  if (upgradesToWebSocket && length !== undefined) return refuse(400, 'a WebSocket with a body');
  return {
    kind: 'request',
    method,
    target: text.slice(line.methodEnd + 1 - begin, line.targetEnd - begin),
    isHttp10: line.isHttp10,
    host: fields.host,
    kept: fields.kept,
    bodyLength: length ?? 0,
    keepsConnection: line.isHttp10 ? hasWord(connection, 'keep-alive') : !hasWord(connection, 'close'),
    expectsContinue: fields.expect !== '' && !line.isHttp10,
    isWebSocket: upgradesToWebSocket,
    end,
  };
}

interface RequestLine {
  readonly methodEnd: number;
  readonly targetEnd: number;
  readonly isHttp10: boolean;
  readonly end: number;
}

/** `method SP target SP "HTTP/1." ("0" / "1") CR LF`, with one space and no other white space. */
function scanRequestLine(octets: Uint8Array, begin: number): RequestLine | Refusal | undefined {
  const end = octets.length;
  let at = begin;
  while (at < end && TOKEN_OCTETS[octets[at] as number] === 1) at += 1;
  if (at - begin > METHOD_LIMIT) return refuse(501, 'an unknown method');
  if (at >= end) return undefined;
  if (octets[at] !== SPACE || at === begin) return refuse(400, 'a malformed request line');
  const methodEnd = at;
  at += 1;
  while (at < end && TARGET_OCTETS[octets[at] as number] === 1) at += 1;
  if (at - methodEnd > TARGET_LIMIT) return refuse(414, 'the target is too long');
  if (at >= end) return undefined;
  const targetEnd = at;
  if (targetEnd === methodEnd + 1) return refuse(400, 'a malformed request line');
  for (const octet of VERSION) {
    if (at >= end) return undefined;
    if (octets[at] !== octet) {
      return at > targetEnd + 5
        ? refuse(505, 'only HTTP/1.1 and 1.0')
        : refuse(400, 'a malformed request line');
    }
    at += 1;
  }
  if (at + 2 >= end) {
    return at < end && (octets[at] as number) >>> 1 !== 0x18
      ? refuse(505, 'only HTTP/1.1 and 1.0')
      : undefined;
  }
  const minor = (octets[at] as number) - 0x30;
  if (minor !== 0 && minor !== 1) return refuse(505, 'only HTTP/1.1 and 1.0');
  if (octets[at + 1] !== CR || octets[at + 2] !== LF) return refuse(400, 'a malformed request line');
  return { methodEnd, targetEnd, isHttp10: minor === 0, end: at + 3 };
}

const tooLong = (octets: Uint8Array): Refusal | undefined =>
  octets.length > HEAD_LIMIT_BYTES ? refuse(431, 'the head is too long') : undefined;

/** Whether a word stands in a list of them. */
export const hasWord = (list: string, word: string): boolean =>
  list === word || (list.includes(word) && list.split(',').some((each) => each.trim() === word));

const refuse = (status: Refusal['status'], reason: string): Refusal => ({ kind: 'refusal', status, reason });
