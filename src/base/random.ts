/** Randomness, handed in. */
export interface Random {
  /** `count` unpredictable octets. */
  bytes(count: number): Uint8Array;
}

declare const crypto: { getRandomValues<Octets extends Uint8Array>(octets: Octets): Octets };

/** The system's cryptographic generator. */
export const systemRandom: Random = {
  bytes: (count) => crypto.getRandomValues(new Uint8Array(count)),
};

// Crockford's base 32: no I, L, O, U, so that an id can be read aloud and is a valid DNS label.
const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';

/** A fresh id of `length` characters, 5 bits each: lower case, safe in file names, DNS labels and URLs. */
export function randomId(random: Random, length = 16): string {
  return Array.from(random.bytes(length), (octet) => ALPHABET[octet & 31]).join('');
}
