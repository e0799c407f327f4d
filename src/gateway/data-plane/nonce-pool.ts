import type { Random } from '../../base/index.ts';

/** 22 characters of base64url are 132 bits. */
const LENGTH = 22;
/** Octets drawn at a time; a multiple of 3, so that their text is all of it random. */
const POOL_BYTES = 3 * 1024;

/** Nonces for signatures, many drawn at a time: to draw and to write each alone costs as much as half of its signature. */
export class NoncePool {
  readonly #random: Random;
  #text = '';
  #at = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  next(): string {
    if (this.#at + LENGTH > this.#text.length) {
      this.#text = Buffer.from(this.#random.bytes(POOL_BYTES)).toString('base64url');
      this.#at = 0;
    }
    const nonce = this.#text.slice(this.#at, this.#at + LENGTH);
    this.#at += LENGTH;
    return nonce;
  }
}
