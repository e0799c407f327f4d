import { type NonceMemory, type SignedRequest, type VerifyingKey, verifyRequest } from '../../trust/index.ts';
import { ASSIGNED_SERVER_FIELD } from '../tag.ts';

/** A gateway that the origin's provider has a contract with. */
export interface KnownGateway {
  /** Host and port of its VM API, lower case. */
  readonly authority: string;
  /** Of each token that it may sign by. */
  readonly keys: readonly (VerifyingKey & { readonly keyId: string })[];
}

export type TagVerdict<Gateway> =
  | {
      readonly kind: 'gateway';
      readonly gateway: Gateway;
      /** The VM that it names, as it writes it [gateway G12]. */
      readonly assigned?: string | undefined;
    }
  /** There is none; the visitor came another way. */
  | { readonly kind: 'untagged' }
  /** There is one that must not be believed. */
  | { readonly kind: 'refused'; readonly reason: string };

const MAX_AGE_S = 60;
const ASSIGNED_SERVER = ASSIGNED_SERVER_FIELD.toLowerCase();

/**
 * Which known gateway a request came through [gateway G1]. Only gateways that are known beforehand count, and only with a
 * fresh signature by the key that they share with the origin: a tag can be forged, and whoever gets the token can start VMs.
 */
export function checkTag<Gateway extends KnownGateway>(
  request: SignedRequest,
  gateways: readonly Gateway[],
  nonces: NonceMemory,
  nowMs: number,
): TagVerdict<Gateway> {
  const name = ['bng-api-url', 'bng-api-server'].find((field) => request.fields[field] !== undefined);
  if (name === undefined) return { kind: 'untagged' };
  const authority = taggedAuthority(request.fields[name] ?? '');
  const gateway = gateways.find((known) => known.authority === authority);
  if (!gateway) return { kind: 'refused', reason: 'the tag names no gateway that is known here' };
  const verdict = verifyRequest(request, {
    keyOf: (keyId) => gateway.keys.find((key) => key.keyId === keyId),
    // Whatever of the gateway's word is there is under the signature.
    fieldNames: [name, ASSIGNED_SERVER].filter((field) => request.fields[field] !== undefined),
    nowS: Math.floor(nowMs / 1000),
    maxAgeS: MAX_AGE_S,
  });
  if (!verdict.isValid) return { kind: 'refused', reason: verdict.reason };
  return nonces.isNew(verdict.nonce, nowMs)
    ? { kind: 'gateway', gateway, assigned: request.fields[ASSIGNED_SERVER] }
    : { kind: 'refused', reason: 'the signature was used before' };
}

/** The API's host and port, out of any of the tag's forms: with a scheme or without, with a path (`//version1` too) or not. */
export function taggedAuthority(value: string): string | undefined {
  return /^(?:https?:\/\/)?([a-z0-9.-]{1,253}(?::\d{1,5})?|\[[0-9a-f:.]+\](?::\d{1,5})?)(?:\/|$)/.exec(
    value.trim().toLowerCase(),
  )?.[1];
}
