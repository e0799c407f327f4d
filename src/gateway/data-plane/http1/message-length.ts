import type { FieldSection } from './field-section.ts';

/** A body whose chunks say where it ends. */
export const CHUNKED = -1;
/** A body that the end of the connection ends (answers only). */
export const UNTIL_CLOSE = -2;

/**
 * The length of a message's body in octets, `CHUNKED`, or `undefined` when the message does not say (RFC 9112 §6.3). Stricter
 * than the RFC: whatever two servers have been seen to read differently is refused.
 *
 * @returns a sentence when it is refused.
 */
export function bodyLength(
  { contentLength, transferEncoding, hasDuplicate }: FieldSection,
  isHttp10: boolean,
): number | undefined | string {
  if (hasDuplicate) return 'a field that may stand once only stands twice';
  if (transferEncoding !== undefined) {
    if (contentLength !== undefined) return 'both Content-Length and Transfer-Encoding';
    if (isHttp10) return 'Transfer-Encoding in HTTP/1.0';
    return transferEncoding.toLowerCase() === 'chunked' ? CHUNKED : 'a Transfer-Encoding other than chunked';
  }
  if (contentLength === undefined) return undefined;
  // 15 digits are exact in a double.
  return /^(?:0|[1-9]\d{0,14})$/.test(contentLength)
    ? Number(contentLength)
    : 'a Content-Length that is not a number';
}
