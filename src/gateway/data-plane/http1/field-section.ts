/**
 * The field lines of an HTTP/1.1 message (RFC 9112 §5), read strictly:
 *
 *     field-line = token ":" *( HTAB / SP / VCHAR / obs-text ) CR LF       … and an empty line behind the last
 *
 * No folded line, no space before the colon, no bare CR or LF, no control character: whatever two servers could read
 * differently is refused here, so that the next server never sees it.
 *
 * A gateway changes few of the fields. Those that it need not look at are passed on as the octets that they came as, in
 * runs: a name is read only when its length and first letter say that it could be one of the special ones.
 * @module
 */

export const FIELD_LIMIT = 100;

/** Spellings of special names that are remembered. */
const SPELLING_LIMIT = 256;

const COLON = 0x3a;
const CR = 0x0d;
const LF = 0x0a;
const SPACE = 0x20;
const TAB = 0x09;

/** By octet: 1 for tchar (RFC 9110 §5.6.2). */
export const TOKEN_OCTETS = octetTable((octet) =>
  /^[!#$%&'*+.^_`|~0-9A-Za-z-]$/.test(String.fromCharCode(octet)),
);
/** By octet: 1 for what a field's value may hold. */
const VALUE_OCTETS = octetTable((octet) => octet === 0x09 || (octet >= 0x20 && octet !== 0x7f));

/** The table of the octets for which `isIn` holds. */
export function octetTable(isIn: (octet: number) => boolean): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, octet) => (isIn(octet) ? 1 : 0));
}

/** What a special field is to the reader. `drop`: speaks of one connection only, or is for gateways to say. */
export type FieldRole =
  | 'connection'
  | 'content-length'
  | 'drop'
  | 'expect'
  | 'host'
  | 'transfer-encoding'
  | 'upgrade';

/** Names that are not simply passed on. `_` counts as `-`: servers behind CGI see them as one. */
export class SpecialFields {
  readonly #roles: ReadonlyMap<string, FieldRole>;
  readonly #dropped: RegExp | undefined;
  /** By name as it was spelt: there are few spellings, and they come again. */
  readonly #spellings = new Map<string, FieldRole>();
  /** By length and first letter: 1 where a special name has them. */
  readonly #isCandidate = new Uint8Array(256 * 32);

  /** @param droppedPrefixes names that begin with one of them are dropped. */
  constructor(roles: Readonly<Record<string, FieldRole>>, droppedPrefixes: readonly string[] = []) {
    this.#roles = new Map(Object.entries(roles));
    this.#dropped = droppedPrefixes.length > 0 ? new RegExp(`^(?:${droppedPrefixes.join('|')})`) : undefined;
    for (const name of Object.keys(roles)) this.#isCandidate[slot(name.length, name.charCodeAt(0))] = 1;
    for (const prefix of droppedPrefixes) {
      for (let length = prefix.length; length < 256; length += 1) {
        this.#isCandidate[slot(length, prefix.charCodeAt(0))] = 1;
      }
    }
  }

  /** Whether a name of this length and first octet is worth a look. */
  mayHold(length: number, firstOctet: number): boolean {
    return this.#isCandidate[slot(length, firstOctet)] === 1;
  }

  roleOf(name: string): FieldRole | undefined {
    const known = this.#spellings.get(name);
    if (known !== undefined) return known;
    const role = this.#find(name);
    if (role !== undefined && this.#spellings.size < SPELLING_LIMIT) this.#spellings.set(name, role);
    return role;
  }

  #find(name: string): FieldRole | undefined {
    const key = name.toLowerCase().replaceAll('_', '-');
    const role = this.#roles.get(key);
    if (role !== undefined) return name.includes('_') ? 'drop' : role;
    return this.#dropped?.test(key) ? 'drop' : undefined;
  }
}

const slot = (length: number, firstOctet: number): number => Math.min(length, 255) * 32 + (firstOctet & 31);

export const INCOMPLETE = 0;
export const MALFORMED = -1;
export const TOO_MANY = -2;

// Where each field of the section that was scanned last begins, and its colon. Used before the next section is scanned.
const starts = new Int32Array(FIELD_LIMIT);
const colons = new Int32Array(FIELD_LIMIT);
let fieldCount = 0;

/**
 * Looks for the end of the section that begins at `from`.
 *
 * @returns the offset behind its empty line, or `INCOMPLETE`, `MALFORMED`, `TOO_MANY`.
 */
export function scanFieldSection(octets: Uint8Array, from: number): number {
  const end = octets.length;
  fieldCount = 0;
  let at = from;
  for (;;) {
    if (at >= end) return INCOMPLETE;
    if (octets[at] === CR) {
      if (at + 1 >= end) return INCOMPLETE;
      return octets[at + 1] === LF ? at + 2 : MALFORMED;
    }
    if (fieldCount === FIELD_LIMIT) return TOO_MANY;
    starts[fieldCount] = at;
    const nameAt = at;
    while (at < end && TOKEN_OCTETS[octets[at] as number] === 1) at += 1;
    if (at >= end) return INCOMPLETE;
    if (octets[at] !== COLON || at === nameAt) return MALFORMED;
    colons[fieldCount] = at;
    fieldCount += 1;
    at += 1;
    while (at < end && VALUE_OCTETS[octets[at] as number] === 1) at += 1;
    if (at >= end) return INCOMPLETE;
    if (octets[at] !== CR) return MALFORMED;
    if (at + 1 >= end) return INCOMPLETE;
    if (octets[at + 1] !== LF) return MALFORMED;
    at += 2;
  }
}

/** What stands in a section, as far as it concerns a gateway. */
export interface FieldSection {
  /** The lines that are passed on, as they came, each with its CR LF. */
  kept: string;
  /** Values of the special fields; `undefined` when absent. Those that may stand once only are counted. */
  host: string | undefined;
  contentLength: string | undefined;
  transferEncoding: string | undefined;
  /** All of them joined by commas, lower case. */
  connection: string;
  expect: string;
  upgrade: string;
  /** True when Host, Content-Length or Transfer-Encoding stands twice. */
  hasDuplicate: boolean;
}

/**
 * Reads the section that was scanned last.
 *
 * @param text the octets as Latin-1; `text[0]` is `octets[base]`.
 */
export function readFieldSection(
  octets: Uint8Array,
  text: string,
  base: number,
  special: SpecialFields,
): FieldSection {
  const section: FieldSection = {
    kept: '',
    host: undefined,
    contentLength: undefined,
    transferEncoding: undefined,
    connection: '',
    expect: '',
    upgrade: '',
    hasDuplicate: false,
  };
  const endOfLines = text.length - 2;
  let runAt = fieldCount > 0 ? (starts[0] as number) - base : endOfLines;
  for (let index = 0; index < fieldCount; index += 1) {
    const start = starts[index] as number;
    const colon = colons[index] as number;
    if (!special.mayHold(colon - start, octets[start] as number)) continue;
    const role = special.roleOf(text.slice(start - base, colon - base));
    if (role === undefined) continue;
    const lineEnd = index + 1 < fieldCount ? (starts[index + 1] as number) - base : endOfLines;
    if (start - base > runAt) section.kept += text.slice(runAt, start - base);
    runAt = lineEnd;
    if (role !== 'drop') note(section, role, valueOf(role, text.slice(colon + 1 - base, lineEnd - 2)));
  }
  if (endOfLines > runAt) section.kept += text.slice(runAt, endOfLines);
  const named = namesIn(section.connection);
  if (named.length > 0) section.kept = withoutFields(section.kept, named);
  return section;
}

/** A tab beside a coding is allowed, and yet read differently by servers: it stays, so that the coding is unknown. */
const valueOf = (role: FieldRole, text: string): string =>
  role === 'transfer-encoding' && text.includes('\t') ? text : trimmed(text);

/** Without spaces and tabs around it. (`trim` takes away more than HTTP calls white space.) */
function trimmed(value: string): string {
  let start = 0;
  let end = value.length;
  while (start < end && isWhiteSpace(value.charCodeAt(start))) start += 1;
  while (end > start && isWhiteSpace(value.charCodeAt(end - 1))) end -= 1;
  return value.slice(start, end);
}

const isWhiteSpace = (code: number): boolean => code === SPACE || code === TAB;

function note(section: FieldSection, role: Exclude<FieldRole, 'drop'>, value: string): void {
  switch (role) {
    case 'host':
      section.hasDuplicate ||= section.host !== undefined;
      section.host = value;
      return;
    case 'content-length':
      section.hasDuplicate ||= section.contentLength !== undefined;
      section.contentLength = value;
      return;
    case 'transfer-encoding':
      section.hasDuplicate ||= section.transferEncoding !== undefined;
      section.transferEncoding = value;
      return;
    case 'connection':
    case 'expect':
    case 'upgrade':
      section[role] = section[role] === '' ? value.toLowerCase() : `${section[role]},${value.toLowerCase()}`;
  }
}

/** The fields that `Connection` names, beside the words that are no fields (RFC 9110 §7.6.1). */
function namesIn(connection: string): string[] {
  if (connection === '' || connection === 'keep-alive' || connection === 'close') return [];
  const names = connection.split(',', FIELD_LIMIT).map((name) => name.trim());
  return names.filter(
    (name) => name !== '' && name !== 'keep-alive' && name !== 'close' && name !== 'upgrade',
  );
}

function withoutFields(lines: string, names: readonly string[]): string {
  const gone = new Set(names);
  let left = '';
  for (const line of lines.split('\r\n')) {
    if (line !== '' && !gone.has(line.slice(0, line.indexOf(':')).toLowerCase())) left += `${line}\r\n`;
  }
  return left;
}

/** Each field of `lines` as name and value. */
export function* eachField(lines: string): Generator<readonly [name: string, value: string]> {
  for (const line of lines.split('\r\n')) {
    const colon = line.indexOf(':');
    if (colon > 0) yield [line.slice(0, colon), trimmed(line.slice(colon + 1))];
  }
}
