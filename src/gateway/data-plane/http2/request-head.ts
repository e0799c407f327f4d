import type { IncomingHttpHeaders } from 'node:http2';
import type { ClientRequest } from '../client.ts';
import { FIELD_LIMIT } from '../http1/field-section.ts';
import { CHUNKED } from '../http1/message-length.ts';
import {
  HEAD_LIMIT_BYTES,
  KNOWN_METHODS,
  REQUEST_FIELDS,
  type Refusal,
  TARGET_LIMIT,
} from '../http1/request-head.ts';
import { readFields } from './fields.ts';

/** A request by HTTP/2, as it would stand in HTTP/1.1. */
export interface Http2RequestHead extends ClientRequest {
  readonly kind: 'request';
  readonly expectsContinue: boolean;
}

const PATH = /^(?:\/[!-~]*|\*)$/;

/**
 * Takes a request over from HTTP/2 (RFC 9113 §8.3). What a server of HTTP/1.1 behind the gateway could read differently is
 * refused.
 *
 * @param raw name and value in turn, as they came.
 * @param hasBody whether more than the head comes.
 */
export function readRequestHead(
  headers: IncomingHttpHeaders,
  raw: readonly string[],
  hasBody: boolean,
): Http2RequestHead | Refusal {
  const method = headers[':method'] ?? '';
  const target = headers[':path'] ?? '';
  const authority = headers[':authority'];
  if (!KNOWN_METHODS.has(method)) return refuse(501, 'an unknown method');
  if (method === 'CONNECT') return refuse(501, 'CONNECT is not for this server');
  if (headers[':scheme'] !== 'https') return refuse(400, 'a scheme other than https');
  if (target.length > TARGET_LIMIT) return refuse(414, 'the target is too long');
  if (!PATH.test(target)) return refuse(400, 'a path that is none');
  const fields = readFields(raw, REQUEST_FIELDS);
  if (!fields) return refuse(400, 'a malformed field');
  if (fields.count > FIELD_LIMIT) return refuse(431, 'too many fields');
  if (fields.sizeBytes > HEAD_LIMIT_BYTES) return refuse(431, 'the head is too long');
  const { host, contentLength, expect } = fields;
  if (authority !== undefined && host !== undefined && authority.toLowerCase() !== host.toLowerCase()) {
    return refuse(400, 'a Host other than the authority');
  }
  if (authority === undefined && host === undefined) return refuse(400, 'no authority');
  // 15 digits are exact in a double.
  if (contentLength !== undefined && !/^\d{1,15}$/.test(contentLength)) {
    return refuse(400, 'a Content-Length that is not a number');
  }
  if (!hasBody && Number(contentLength ?? 0) > 0) return refuse(400, 'a Content-Length without a body');
  if (expect !== undefined && expect !== '100-continue') {
    return refuse(417, 'an expectation other than 100-continue');
  }
  const bodyLength = !hasBody ? 0 : contentLength === undefined ? CHUNKED : Number(contentLength);
  return {
    kind: 'request',
    method,
    target,
    host: authority ?? host,
    kept: fields.kept,
    bodyLength,
    isWebSocket: false,
    expectsContinue: expect !== undefined && bodyLength !== 0,
  };
}

const refuse = (status: Refusal['status'], reason: string): Refusal => ({ kind: 'refusal', status, reason });
