import {
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  hkdfSync,
  type KeyObject,
  sign,
  timingSafeEqual,
  verify,
} from 'node:crypto';
import type { SigningKey, VerifyingKey } from '../trust/index.ts';

/** A signing key as data that can be handed to another process: secret. */
export type SigningMaterial =
  | { readonly kind: 'shared'; readonly secret: string }
  | { readonly kind: 'gateway'; readonly privatePem: string };

/** A key by which tags are signed. */
export interface TagKey extends SigningKey {
  readonly material: SigningMaterial;
}

/** Both roles of a key that two peers share. */
export type SharedKey = TagKey & VerifyingKey;

/**
 * The key by which a gateway signs the tag for one origin, and by which that origin verifies it: derived from the token that
 * both hold (HKDF, RFC 5869), so that there is one secret to hand over and the token itself is never used twice.
 */
export function sharedTagKey(token: string): SharedKey {
  return sharedKey(Buffer.from(hkdfSync('sha256', token, '', 'orilla tag signature 1', 32)));
}

function sharedKey(secret: Buffer): SharedKey {
  const hmac = (base: Uint8Array) => createHmac('sha256', secret).update(base).digest();
  return {
    // Tells which token it came from, and nothing of it.
    keyId: createHash('sha256').update(secret).digest('base64url').slice(0, 22),
    algorithm: 'hmac-sha256',
    material: { kind: 'shared', secret: secret.toString('base64') },
    sign: (base) => createHmac('sha256', secret).update(base, 'latin1').digest('base64'),
    verify: (base, signature) => signature.length === 32 && timingSafeEqual(hmac(base), signature),
  };
}

/** The public half of an Ed25519 key as a JSON Web Key (RFC 8037). */
export interface PublicJwk {
  readonly kty: 'OKP';
  readonly crv: 'Ed25519';
  readonly x: string;
}

/** A gateway's own key, for origins with which it shares none. Its id is the key's thumbprint (RFC 7638). */
export function gatewayKey(privateKey: KeyObject): TagKey & { readonly publicJwk: PublicJwk } {
  const { x = '' } = createPublicKey(privateKey).export({ format: 'jwk' });
  const publicJwk: PublicJwk = { kty: 'OKP', crv: 'Ed25519', x };
  return {
    keyId: thumbprint(publicJwk),
    algorithm: 'ed25519',
    publicJwk,
    material: {
      kind: 'gateway',
      privatePem: privateKey.export({ format: 'pem', type: 'pkcs8' }),
    },
    sign: (base) => sign(null, Buffer.from(base, 'latin1'), privateKey).toString('base64'),
  };
}

/** The key that was handed over as data. */
export const signingKeyFrom = (material: SigningMaterial): TagKey =>
  material.kind === 'shared'
    ? sharedKey(Buffer.from(material.secret, 'base64'))
    : gatewayKey(createPrivateKey(material.privatePem));

/** Verifies what the gateway with this public key has signed. */
export function gatewayVerifyingKey(jwk: PublicJwk): VerifyingKey & { readonly keyId: string } {
  const key = createPublicKey({ key: { ...jwk }, format: 'jwk' });
  return {
    keyId: thumbprint(jwk),
    algorithm: 'ed25519',
    verify: (base, signature) => verify(null, base, key, signature),
  };
}

/** RFC 7638 §3: the required members in lexicographic order, without white space. */
const thumbprint = ({ crv, kty, x }: PublicJwk): string =>
  createHash('sha256').update(JSON.stringify({ crv, kty, x })).digest('base64url');
