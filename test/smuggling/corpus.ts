/**
 * Requests that have parted front ends from origins, and their harmless neighbours: what one server takes for a body and the
 * next for a request. Each comes with what this gateway makes of it.
 *
 * @example
 * for (const { name, octets, verdict } of REQUEST_CORPUS) …
 * @module
 */
import { CHUNK_CASES } from './chunk-cases.ts';
import { CONNECTION_CASES } from './connection-cases.ts';
import { CONTENT_LENGTH_CASES } from './content-length-cases.ts';
import { FIELD_CASES } from './field-cases.ts';
import { HOST_CASES } from './host-cases.ts';
import type { RequestCase } from './request-case.ts';
import { REQUEST_LINE_CASES } from './request-line-cases.ts';
import { TRANSFER_ENCODING_CASES } from './transfer-encoding-cases.ts';

export const REQUEST_CORPUS: readonly RequestCase[] = [
  ...REQUEST_LINE_CASES,
  ...HOST_CASES,
  ...CONTENT_LENGTH_CASES,
  ...TRANSFER_ENCODING_CASES,
  ...CHUNK_CASES,
  ...FIELD_CASES,
  ...CONNECTION_CASES,
];
