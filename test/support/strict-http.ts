/**
 * HTTP/1.1 messages read as strictly as RFC 9112 lets one: what anybody could read in a second way is a fault. It judges
 * what the gateway sends, and shares no code with it. Octets are characters of Latin-1.
 * @module
 */

export interface StrictMessage {
  /** The request line or the status line. */
  readonly startLine: string;
  /** Names as they came, values without the white space around them. */
  readonly fields: readonly (readonly [name: string, value: string])[];
  readonly body: string;
  readonly trailers: readonly (readonly [name: string, value: string])[];
}

/** What the octets begin with. `partial`: nothing wrong so far, but not all of it. */
export type Reading =
  | { readonly kind: 'whole'; readonly message: StrictMessage; readonly sizeOctets: number }
  | { readonly kind: 'partial' }
  | { readonly kind: 'fault'; readonly reason: string };

const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const REQUEST_LINE = new RegExp(`^${TOKEN} [\\x21-\\x7e]+ HTTP/1\\.1$`);
const STATUS_LINE = /^HTTP\/1\.[01] [1-5]\d\d [\t\x20-\x7e\x80-\xff]*$/;
const FIELD_LINE = new RegExp(
  `^(${TOKEN}):[ \\t]*((?:[\\x21-\\x7e\\x80-\\xff](?:[\\t\\x20-\\x7e\\x80-\\xff]*[\\x21-\\x7e\\x80-\\xff])?)?)[ \\t]*$`,
);
const LENGTH = /^(?:0|[1-9]\d{0,15})$/;
/** No extension: a gateway has no use for them, and servers read them differently. */
const CHUNK_SIZE = /^[0-9a-fA-F]{1,16}$/;

class Fault extends Error {}
/** More octets are needed. */
class Partial extends Error {}

/** Reads octets from a text, step by step. */
class Cursor {
  readonly #octets: string;
  at = 0;

  constructor(octets: string) {
    this.#octets = octets;
  }

  /** Up to CRLF, which must be the only CR and the only LF. */
  line(): string {
    const end = this.#octets.indexOf('\n', this.at);
    const line = this.#octets.slice(this.at, end < 0 ? undefined : end);
    if (end < 0) {
      if (/\r[^]/.test(line)) throw new Fault('a bare CR');
      throw new Partial();
    }
    if (!line.endsWith('\r')) throw new Fault('a bare LF');
    if (line.indexOf('\r') < line.length - 1) throw new Fault('a bare CR');
    this.at = end + 1;
    return line.slice(0, -1);
  }

  take(sizeOctets: number): string {
    if (this.#octets.length - this.at < sizeOctets) throw new Partial();
    this.at += sizeOctets;
    return this.#octets.slice(this.at - sizeOctets, this.at);
  }

  rest(): string {
    return this.take(this.#octets.length - this.at);
  }
}

/** The first request of these octets: exactly one `Host`, and at most one of `Content-Length` and `chunked`. */
export function readRequest(octets: string): Reading {
  return reading(octets, (cursor) => {
    const startLine = cursor.line();
    if (!REQUEST_LINE.test(startLine)) throw new Fault(`the request line ${JSON.stringify(startLine)}`);
    const fields = fieldLines(cursor);
    if (valuesOf(fields, 'host').length !== 1) throw new Fault('not one Host');
    return { startLine, fields, ...(chunkedOrLong(cursor, fields) ?? { body: '', trailers: [] }) };
  });
}

/**
 * The first answer of these octets to a request by `method`, interim answers (1xx) included as messages of their own.
 *
 * @param isEnded the connection has ended: an answer without a length ends there too.
 */
export function readAnswer(octets: string, method: string, isEnded: boolean): Reading {
  return reading(octets, (cursor) => {
    const startLine = cursor.line();
    if (!STATUS_LINE.test(startLine)) throw new Fault(`the status line ${JSON.stringify(startLine)}`);
    const fields = fieldLines(cursor);
    const status = statusOf({ startLine });
    if (method === 'HEAD' || status < 200 || status === 204 || status === 304) {
      if (status < 200 || status === 204) checkUnframed(fields);
      return { startLine, fields, body: '', trailers: [] };
    }
    const framed = chunkedOrLong(cursor, fields);
    if (framed) return { startLine, fields, ...framed };
    if (!isEnded) throw new Partial();
    return { startLine, fields, body: cursor.rest(), trailers: [] };
  });
}

export const statusOf = ({ startLine }: Pick<StrictMessage, 'startLine'>): number =>
  Number(startLine.split(' ')[1]);

/** All values of a field, whatever the case of its name. */
export const valuesOf = (fields: StrictMessage['fields'], name: string): string[] =>
  fields.filter(([each]) => each.toLowerCase() === name).map(([, value]) => value);

function reading(octets: string, read: (cursor: Cursor) => StrictMessage): Reading {
  const cursor = new Cursor(octets);
  try {
    const message = read(cursor);
    return { kind: 'whole', message, sizeOctets: cursor.at };
  } catch (error) {
    if (error instanceof Partial) return { kind: 'partial' };
    if (error instanceof Fault) return { kind: 'fault', reason: error.message };
    throw error;
  }
}

function fieldLines(cursor: Cursor): [string, string][] {
  const fields: [string, string][] = [];
  for (let line = cursor.line(); line !== ''; line = cursor.line()) {
    const [, name, value] = FIELD_LINE.exec(line) ?? [];
    if (name === undefined || value === undefined) throw new Fault(`the line ${JSON.stringify(line)}`);
    fields.push([name, value]);
  }
  return fields;
}

/** `undefined` when nothing frames a body. */
function chunkedOrLong(
  cursor: Cursor,
  fields: StrictMessage['fields'],
): Pick<StrictMessage, 'body' | 'trailers'> | undefined {
  const lengths = valuesOf(fields, 'content-length');
  const codings = valuesOf(fields, 'transfer-encoding');
  if (lengths.length + codings.length > 1) throw new Fault('more than one framing');
  const [length] = lengths;
  const [coding] = codings;
  if (length !== undefined) {
    if (!LENGTH.test(length)) throw new Fault(`the length ${JSON.stringify(length)}`);
    return { body: cursor.take(Number(length)), trailers: [] };
  }
  if (coding === undefined) return undefined;
  if (coding.toLowerCase() !== 'chunked') throw new Fault(`the coding ${JSON.stringify(coding)}`);
  let body = '';
  for (;;) {
    const size = cursor.line();
    if (!CHUNK_SIZE.test(size)) throw new Fault(`the chunk size ${JSON.stringify(size)}`);
    if (Number.parseInt(size, 16) === 0) return { body, trailers: fieldLines(cursor) };
    body += cursor.take(Number.parseInt(size, 16));
    if (cursor.take(2) !== '\r\n') throw new Fault('a chunk that does not end with CRLF');
  }
}

/** Such answers have no framing at all (RFC 9112 §6.1, RFC 9110 §8.6). */
function checkUnframed(fields: StrictMessage['fields']): void {
  for (const name of ['transfer-encoding', 'content-length']) {
    if (valuesOf(fields, name).length > 0) throw new Fault(`${name} where no body can be`);
  }
}
