/**
 * What a proxy changes in a head. Heads are lists of name and value in turn, as they came: order, spelling and repeated
 * fields are kept.
 * @module
 */
import { isReservedHeader } from '../tag.ts';

/** Fields that speak of one connection only (RFC 9110 §7.6.1) and are not forwarded. */
const HOP_BY_HOP = new Set([
  'connection',
  // Answered here: the server says 100 before the body is asked for.
  'expect',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

const FORWARDED = new Set(['x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host', 'forwarded']);

export interface RequestContext {
  readonly clientAddress: string;
  /** The host as the client named it. */
  readonly host: string;
  /** What is sent as `Host`. */
  readonly upstreamHost: string;
  /** The tag's fields, name and value in turn; empty for a VM of this edge, which need not be told. */
  readonly tagFields: readonly string[];
}

/** The head that goes upstream. The client's word about who it is and which gateway this is does not count. */
export function upstreamHeaders(raw: readonly string[], context: RequestContext): string[] {
  const drop = namedByConnection(raw);
  const headers: string[] = ['Host', context.upstreamHost];
  for (const [name, value] of pairs(raw)) {
    const key = name.toLowerCase();
    if (key === 'host' || HOP_BY_HOP.has(key) || FORWARDED.has(key) || drop.has(key)) continue;
    if (isReservedHeader(key)) continue;
    headers.push(name, value);
  }
  headers.push('X-Forwarded-For', context.clientAddress, 'X-Forwarded-Proto', 'http');
  headers.push('X-Forwarded-Host', context.host);
  headers.push(...context.tagFields);
  return headers;
}

/** The head that goes back to the client. */
export function clientHeaders(raw: readonly string[], servedBy: string | undefined): string[] {
  const drop = namedByConnection(raw);
  const headers: string[] = [];
  for (const [name, value] of pairs(raw)) {
    const key = name.toLowerCase();
    if (HOP_BY_HOP.has(key) || drop.has(key) || key === 'orilla-served-by') continue;
    headers.push(name, value);
  }
  if (servedBy !== undefined) headers.push('Orilla-Served-By', servedBy);
  return headers;
}

function namedByConnection(raw: readonly string[]): Set<string> {
  const named = new Set<string>();
  for (const [name, value] of pairs(raw)) {
    if (name.toLowerCase() !== 'connection') continue;
    for (const token of value.split(',')) named.add(token.trim().toLowerCase());
  }
  // A sender may not make a proxy drop what frames or addresses the message.
  named.delete('content-length');
  named.delete('host');
  return named;
}

function* pairs(raw: readonly string[]): Generator<readonly [name: string, value: string]> {
  for (let i = 0; i + 1 < raw.length; i += 2) yield [raw[i] ?? '', raw[i + 1] ?? ''];
}
