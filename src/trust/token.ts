/** A secret that whoever holds it shows as `Authorization: Bearer` (RFC 6750 §2.1). */

/** SHA-256, handed in: `node:crypto` or WebCrypto. */
export type Sha256 = (octets: Uint8Array) => Uint8Array;

/** 256 bits from `random`, in base64url: 43 characters. */
export function newToken(random: { bytes(count: number): Uint8Array }): string {
  return btoa(String.fromCharCode(...random.bytes(32)))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '');
}

/** The token in an `Authorization` header; `undefined` when it holds none. */
export function bearerToken(authorization: string | undefined): string | undefined {
  return /^Bearer +([A-Za-z0-9._~+/-]{1,512}=*)$/i.exec(authorization ?? '')?.[1];
}

/**
 * Tells whose token it is. Keeps hashes only, and compares every one of them in constant time, so that neither a dump
 * of the memory nor the time of an answer gives a token away.
 */
export class TokenVerifier<Holder> {
  readonly #sha256: Sha256;
  readonly #holders: readonly (readonly [hash: Uint8Array, holder: Holder])[];

  constructor(sha256: Sha256, tokens: Iterable<readonly [token: string, holder: Holder]>) {
    this.#sha256 = sha256;
    this.#holders = Array.from(tokens, ([token, holder]) => [this.#hash(token), holder] as const);
  }

  verify(token: string): Holder | undefined {
    const hash = this.#hash(token);
    let found: Holder | undefined;
    for (const [expected, holder] of this.#holders) if (equal(hash, expected)) found = holder;
    return found;
  }

  #hash(token: string): Uint8Array {
    return this.#sha256(new TextEncoder().encode(token));
  }
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  let difference = a.length ^ b.length;
  for (let i = 0; i < a.length; i += 1) difference |= (a[i] ?? 0) ^ (b[i] ?? 0);
  return difference === 0;
}
