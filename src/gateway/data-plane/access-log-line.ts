/**
 * The lines of an access log:
 *
 *     common  192.0.2.1 - - [21/Nov/2026:12:30:05 +0000] "GET /a?b HTTP/1.1" 200 512 "http://referer/" "agent"
 *     json    {"time":"2026-11-21T12:30:05.123Z","client":"192.0.2.1","method":"GET",…}
 *
 * `common` is what Apache and nginx call combined. What a client has sent cannot end a line or begin another one: control
 * characters, quotes and backslashes are escaped, lengths are bounded.
 * @module
 */
import type { ClientRequest, ClientStream } from './client.ts';
import type { Exchange } from './data-plane.ts';
import { eachField } from './http1/field-section.ts';

export const ACCESS_LOG_FORMATS = ['json', 'common'] as const;
export type AccessLogFormat = (typeof ACCESS_LOG_FORMATS)[number];

/** What only the log is told of a request that is over: the metrics do not want it. */
export interface Passage {
  readonly client: Pick<ClientStream, 'address' | 'protocol'>;
  readonly request: Pick<ClientRequest, 'method' | 'target' | 'host' | 'kept'>;
  readonly durationMs: number;
  /** Octets of the answer's body that went to the client. */
  readonly sentBytes: number;
  /** The VM that served it. */
  readonly vm: string | undefined;
}

const TARGET_LIMIT = 4096;
const HOST_LIMIT = 255;
const FIELD_LIMIT = 1024;

/** A line with its end. */
export function accessLogLine(
  format: AccessLogFormat,
  exchange: Exchange,
  passage: Passage,
  endedMs: number,
): string {
  return format === 'json' ? jsonLine(exchange, passage, endedMs) : commonLine(exchange, passage, endedMs);
}

function jsonLine(
  exchange: Exchange,
  { client, request, durationMs, sentBytes, vm }: Passage,
  endedMs: number,
) {
  const line = JSON.stringify({
    time: new Date(endedMs).toISOString(),
    client: client.address,
    method: request.method,
    host: request.host?.slice(0, HOST_LIMIT),
    path: request.target.slice(0, TARGET_LIMIT),
    protocol: client.protocol,
    status: exchange.status,
    bytes: sentBytes,
    durationMs: rounded(durationMs),
    firstByteMs: exchange.firstByteMs === undefined ? undefined : rounded(exchange.firstByteMs),
    servedBy: vm === undefined || exchange.servedBy !== 'vm' ? exchange.servedBy : `vm/${vm}`,
    origin: exchange.origin,
    wasReplayed: exchange.wasReplayed,
    failure: exchange.failure,
  });
  // JSON leaves these as they are; terminals and some readers do not.
  return `${line.replace(/[\u007f-\u009f]/g, (character) => `\\u00${hex(character)}`)}\n`;
}

function commonLine({ status }: Exchange, { client, request, sentBytes }: Passage, endedMs: number): string {
  let referer = '-';
  let agent = '-';
  for (const [name, value] of eachField(request.kept)) {
    const key = name.toLowerCase();
    if (key === 'referer') referer = quotable(value, FIELD_LIMIT);
    else if (key === 'user-agent') agent = quotable(value, FIELD_LIMIT);
  }
  const asked = `${request.method} ${quotable(request.target, TARGET_LIMIT)} ${client.protocol}`;
  const time = commonTime(endedMs);
  return `${client.address} - - [${time}] "${asked}" ${status} ${sentBytes} "${referer}" "${agent}"\n`;
}

const quotable = (text: string, limit: number): string =>
  text.slice(0, limit).replace(/[^\x20-\x7e]|["\\]/g, (character) => `\\x${hex(character)}`);

const hex = (character: string): string => character.charCodeAt(0).toString(16).padStart(2, '0');

const rounded = (durationMs: number): number => Math.round(durationMs * 10) / 10;

/** `21/Nov/2026:12:30:05 +0000` */
function commonTime(nowMs: number): string {
  // Sat, 21 Nov 2026 12:30:05 GMT
  const [, day = '', month = '', year = '', time = ''] = new Date(nowMs).toUTCString().split(' ');
  return `${day}/${month}/${year}:${time} +0000`;
}
