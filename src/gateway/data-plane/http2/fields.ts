import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http2';
import { eachField } from '../http1/field-section.ts';

/** What must not stand in HTTP/2 (RFC 9113 §8.2.2), or is written by the gateway itself. */
const NOT_PASSED_ON = new Set([
  'connection',
  'content-length',
  'keep-alive',
  'orilla-served-by',
  'proxy-authenticate',
  'proxy-connection',
  'te',
  'transfer-encoding',
  'upgrade',
]);

/** Lines of HTTP/1.1 as fields of HTTP/2: names in lower case, several of one name in a list. */
export function fieldsOf(lines: string): OutgoingHttpHeaders {
  const fields: Record<string, string | string[]> = {};
  for (const [name, value] of eachField(lines)) {
    const key = name.toLowerCase();
    const known = fields[key];
    if (known === undefined) fields[key] = value;
    else if (typeof known === 'string') fields[key] = [known, value];
    else known.push(value);
  }
  return fields;
}

/** Fields of HTTP/2 as lines of HTTP/1.1, without those that speak of the message's own frame. */
export function linesOf(headers: IncomingHttpHeaders): string {
  let lines = '';
  for (const [name, value] of Object.entries(headers)) {
    if (name.startsWith(':') || value === undefined || NOT_PASSED_ON.has(name)) continue;
    for (const each of Array.isArray(value) ? value : [value]) lines += `${name}: ${each}\r\n`;
  }
  return lines;
}
