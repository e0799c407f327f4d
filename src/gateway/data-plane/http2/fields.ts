/**
 * Fields between HTTP/2 and the lines of HTTP/1.1. What HTTP/2 carries as octets of any kind ends up in lines here, so every
 * name and value is looked at again, whatever was checked before.
 * @module
 */
import type { OutgoingHttpHeaders } from 'node:http2';
import { eachField, type SpecialFields } from '../http1/field-section.ts';

const NAME = /^[!#$%&'*+.^_`|~0-9a-z-]+$/;
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

/** The fields of a message that came by HTTP/2, as far as they concern a gateway. */
export interface Fields {
  /** Those that are passed on as lines, each with its CR LF. */
  readonly kept: string;
  readonly count: number;
  /** Octets of names and values, those too that are not passed on. */
  readonly sizeBytes: number;
  readonly host: string | undefined;
  readonly contentLength: string | undefined;
  readonly expect: string | undefined;
}

/**
 * Reads fields as Node hands them over: name, value, name, value. Those that begin with a colon are left out.
 *
 * @returns `undefined` when they cannot stand in a message of HTTP/1.1, or mean there what they do not mean here.
 */
export function readFields(raw: readonly string[], special: SpecialFields): Fields | undefined {
  const once: { host?: string; 'content-length'?: string; expect?: string } = {};
  let kept = '';
  let cookie: string | undefined;
  let count = 0;
  let sizeBytes = 0;
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] as string;
    const value = raw[index + 1] as string;
    sizeBytes += name.length + value.length;
    if (name.startsWith(':')) continue;
    if (!NAME.test(name) || !VALUE.test(value)) return undefined;
    const role = special.mayHold(name.length, name.charCodeAt(0)) ? special.roleOf(name) : undefined;
    switch (role) {
      case undefined:
        if (name === 'cookie') {
          // Browsers send it in crumbs (RFC 9113 §8.2.3).
          cookie = cookie === undefined ? value : `${cookie}; ${value}`;
          continue;
        }
        kept += `${name}: ${value}\r\n`;
        count += 1;
        break;
      case 'drop':
        count += 1;
        break;
      case 'host':
      case 'content-length':
      case 'expect':
        if (once[role] !== undefined) return undefined;
        once[role] = value;
        count += 1;
        break;
      default:
        // What frames a message or speaks of a connection has no meaning in HTTP/2 (RFC 9113 §8.2.2).
        return undefined;
    }
  }
  if (cookie !== undefined) {
    kept += `cookie: ${cookie}\r\n`;
    count += 1;
  }
  return {
    kept,
    count,
    sizeBytes,
    host: once.host,
    contentLength: once['content-length'],
    expect: once.expect?.toLowerCase(),
  };
}

/** What must not stand in HTTP/2 (RFC 9113 §8.2.2). */
const OF_A_CONNECTION = new Set([
  'connection',
  'http2-settings',
  'keep-alive',
  'proxy-connection',
  'te',
  'transfer-encoding',
  'upgrade',
]);

/**
 * Lines of HTTP/1.1 as fields of HTTP/2: names in lower case. Several of one name become one, which means the same
 * (RFC 9110 §5.3): of many fields Node would send no second one, and throw.
 */
export function fieldsOf(lines: string): OutgoingHttpHeaders {
  const fields: Record<string, string> = {};
  const cookies: string[] = [];
  for (const [name, value] of eachField(lines)) {
    const key = name.toLowerCase();
    if (OF_A_CONNECTION.has(key)) continue;
    const known = fields[key];
    // The one that is no list (RFC 6265 §3).
    if (key === 'set-cookie') cookies.push(value);
    else if (known === undefined) fields[key] = value;
    else fields[key] = `${known}${key === 'cookie' ? ';' : ','} ${value}`;
  }
  return cookies.length > 0 ? { ...fields, 'set-cookie': cookies } : fields;
}
