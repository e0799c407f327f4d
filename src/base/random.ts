/** Randomness, handed in. */
export interface Random {
  /** `count` unpredictable octets. */
  bytes(count: number): Uint8Array;
}

declare const crypto: { getRandomValues<Octets extends Uint8Array>(octets: Octets): Octets };

const POOL_BYTES = 4096;
const SMALL_BYTES = 64;
let pool = new Uint8Array(0);

/** The system's cryptographic generator. Small amounts are drawn many at a time: a call costs more than its octets. */
export const systemRandom: Random = {
  bytes(count) {
    if (count > SMALL_BYTES) return crypto.getRandomValues(new Uint8Array(count));
    if (pool.length < count) pool = crypto.getRandomValues(new Uint8Array(POOL_BYTES));
    const octets = pool.slice(0, count);
    pool = pool.subarray(count);
    return octets;
  },
};

// Crockford's base 32: no I, L, O, U, so that an id can be read aloud and is a valid DNS label.
const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';

/** A fresh id of `length` characters, 5 bits each: lower case, safe in file names, DNS labels and URLs. */
export function randomId(random: Random, length = 16): string {
  return Array.from(random.bytes(length), (octet) => ALPHABET[octet & 31]).join('');
}
