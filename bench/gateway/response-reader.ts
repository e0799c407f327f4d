const HEAD_END = Buffer.from('\r\n\r\n');
const HEAD_LIMIT_BYTES = 16 * 1024;

/**
 * Tells where answers on a connection end, from whatever pieces they come in. Only what these measurements need: status
 * 200 with a `Content-Length`.
 */
export class ResponseReader {
  /** The beginning of a head that is not whole yet. */
  #head = Buffer.alloc(0);
  /** Octets of the body still to come. */
  #missingBytes = 0;
  #isInBody = false;

  /**
   * @returns how many answers ended in this piece.
   * @throws on an answer that cannot be understood.
   */
  push(piece: Buffer): number {
    let ended = 0;
    let rest = piece;
    while (rest.length > 0 || (this.#isInBody && this.#missingBytes === 0)) {
      if (!this.#isInBody) {
        const text = this.#head.length === 0 ? rest : Buffer.concat([this.#head, rest]);
        const end = text.indexOf(HEAD_END);
        if (end < 0) {
          if (text.length > HEAD_LIMIT_BYTES) throw new Error('the head of an answer does not end');
          // A copy: the piece belongs to a buffer that is used again.
          this.#head = Buffer.from(text);
          return ended;
        }
        this.#missingBytes = bodyLength(text.toString('latin1', 0, end));
        this.#isInBody = true;
        rest = text.subarray(end + HEAD_END.length);
        this.#head = Buffer.alloc(0);
      }
      const taken = Math.min(this.#missingBytes, rest.length);
      this.#missingBytes -= taken;
      rest = rest.subarray(taken);
      if (this.#missingBytes > 0) return ended;
      this.#isInBody = false;
      ended += 1;
    }
    return ended;
  }
}

function bodyLength(head: string): number {
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
  if (!/^HTTP\/1\.1 200(?: |$|\r)/.test(head) || length === undefined) {
    throw new Error(`an answer that this measurement does not expect: ${head.slice(0, 200)}`);
  }
  return Number(length);
}
