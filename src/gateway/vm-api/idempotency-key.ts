import { createHash } from 'node:crypto';
import type { Once } from '../../pool/index.ts';
import { gatewayError } from '../errors.ts';

/**
 * The key by which a client names a request, so that one that it sends again after a lost answer is not done twice
 * (draft-ietf-httpapi-idempotency-key-header). A string in quotes as the draft has it; without them too, as many clients
 * send it.
 *
 * @param what is asked, however it was written: the same key with something else is a mistake.
 * @returns undefined without the header.
 * @throws `invalid_idempotency_key`
 */
export function onceOf(
  header: string | readonly string[] | undefined,
  what: readonly unknown[],
): Once | undefined {
  if (header === undefined) return undefined;
  const text = String(header).trim();
  const key = /^"((?:[ !#-[\]-~]|\\["\\])*)"$/.exec(text)?.[1]?.replace(/\\(.)/g, '$1') ?? bareKey(text);
  if (key === undefined || key === '' || key.length > 128) {
    throw gatewayError(
      'invalid_idempotency_key',
      'Idempotency-Key: expected a string of 1 to 128 characters in quotes, for example "8e03978e-40d5-43dd-bc93-6894a57f9324"',
    );
  }
  return { key, fingerprint: createHash('sha256').update(JSON.stringify(what)).digest('hex') };
}

const bareKey = (text: string): string | undefined =>
  /^[A-Za-z0-9._~+/=:-]+$/.test(text) ? text : undefined;
