import {
  INCOMPLETE,
  octetTable,
  readFieldSection,
  SpecialFields,
  scanFieldSection,
} from './field-section.ts';
import { bodyLength, UNTIL_CLOSE } from './message-length.ts';
import { hasWord } from './request-head.ts';

const HEAD_LIMIT_BYTES = 64 * 1024;

/** The head of an answer (RFC 9112 §4), and what it says of its body and connection. */
export interface ResponseHead {
  readonly status: number;
  readonly reason: string;
  /** The fields that are passed on, each with its CR LF. */
  readonly kept: string;
  /** In octets, `CHUNKED` or `UNTIL_CLOSE`; for an answer without a body the length that it names, `UNTIL_CLOSE` if none. */
  readonly bodyLength: number;
  /** Whether octets of a body follow. */
  readonly hasBody: boolean;
  readonly keepsConnection: boolean;
  /** `Upgrade`, in lower case. */
  readonly upgrade: string;
  readonly end: number;
}

/** Fields of an answer that are not simply passed on, whichever version of HTTP it came by. */
export const RESPONSE_FIELDS = new SpecialFields({
  connection: 'connection',
  'content-length': 'content-length',
  'transfer-encoding': 'transfer-encoding',
  upgrade: 'upgrade',
  // RFC 9110 §7.6.1
  'keep-alive': 'drop',
  'proxy-authenticate': 'drop',
  'proxy-connection': 'drop',
  te: 'drop',
  // The gateway's own word.
  'orilla-served-by': 'drop',
});

const CR = 0x0d;
const LF = 0x0a;
const SPACE = 0x20;
const STATUS_LINE_BYTES = 12;
const REASON_OCTETS = octetTable((octet) => octet === 0x09 || (octet >= 0x20 && octet !== 0x7f));

/**
 * Reads the head at the beginning of `octets`. `undefined` while it is not whole; a sentence when it is not HTTP.
 *
 * @param method of the request that it answers.
 */
export function parseResponseHead(octets: Buffer, method: string): ResponseHead | string | undefined {
  if (octets.length <= STATUS_LINE_BYTES) return undefined;
  const isHttp10 = octets[7] === 0x30;
  if (
    octets.toString('latin1', 0, 7) !== 'HTTP/1.' ||
    (!isHttp10 && octets[7] !== 0x31) ||
    octets[8] !== SPACE
  ) {
    return 'an answer that does not begin as HTTP/1.1 does';
  }
  const status = digit(octets[9]) * 100 + digit(octets[10]) * 10 + digit(octets[11]);
  if (!(status >= 100 && status <= 599)) return 'a status that is none';
  let at = STATUS_LINE_BYTES;
  if (octets[at] === SPACE) at += 1;
  else if (octets[at] !== CR) return 'a malformed status line';
  const reasonAt = at;
  while (at < octets.length && REASON_OCTETS[octets[at] as number] === 1) at += 1;
  const reasonEnd = at;
  if (at + 1 >= octets.length) return tooLong(octets);
  if (octets[at] !== CR || octets[at + 1] !== LF) return 'a malformed status line';
  const end = scanFieldSection(octets, at + 2);
  if (end === INCOMPLETE) return tooLong(octets);
  if (end < 0 || end > HEAD_LIMIT_BYTES) return 'malformed or too many fields';

  const text = octets.toString('latin1', 0, end);
  const fields = readFieldSection(octets, text, 0, RESPONSE_FIELDS);
  const length = bodyLength(fields, isHttp10);
  if (typeof length === 'string') return length;
  const hasBody = status >= 200 && status !== 204 && status !== 304 && method !== 'HEAD' && length !== 0;
  const keeps = isHttp10 ? hasWord(fields.connection, 'keep-alive') : !hasWord(fields.connection, 'close');
  return {
    status,
    reason: text.slice(reasonAt, reasonEnd),
    kept: fields.kept,
    bodyLength: length ?? UNTIL_CLOSE,
    hasBody,
    keepsConnection: keeps && !(hasBody && length === undefined),
    upgrade: fields.upgrade,
    end,
  };
}

const digit = (octet: number | undefined): number =>
  octet !== undefined && octet >= 0x30 && octet <= 0x39 ? octet - 0x30 : Number.NaN;

const tooLong = (octets: Uint8Array): string | undefined =>
  octets.length > HEAD_LIMIT_BYTES ? 'an endless head' : undefined;
