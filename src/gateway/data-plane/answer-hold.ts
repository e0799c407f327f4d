import { CHUNKED, UNTIL_CLOSE } from './http1/message-length.ts';
import type { ResponseHead } from './http1/response-head.ts';

/** A VM's answer up to this size is read whole before an octet of it is sent: the VM may die in the middle. */
const HOLD_LIMIT_BYTES = 256 * 1024;
/** An answer whose length is not told may be a stream that somebody watches: it is held this long at the most. */
const HOLD_TIME_MS = 200;

/** The beginning of a VM's answer, held back until it is safe to begin: all of a short one, the first octets of a long one. */
export class AnswerHold {
  readonly head: ResponseHead;
  readonly octets: Buffer[] = [];
  #heldBytes = 0;
  readonly #wantedBytes: number;

  private constructor(head: ResponseHead, wantedBytes: number) {
    this.head = head;
    this.#wantedBytes = wantedBytes;
  }

  /** `undefined` for an answer that need not be held: one without a body, or one that tells by itself whether it is whole. */
  static of(head: ResponseHead): AnswerHold | undefined {
    const { hasBody, bodyLength } = head;
    if (!hasBody || bodyLength === CHUNKED) return undefined;
    if (bodyLength === UNTIL_CLOSE) return new AnswerHold(head, HOLD_LIMIT_BYTES);
    return new AnswerHold(head, bodyLength <= HOLD_LIMIT_BYTES ? bodyLength : 1);
  }

  get endsWithConnection(): boolean {
    return this.head.bodyLength === UNTIL_CLOSE;
  }

  /** How long to hold it; `undefined`: until there is enough. */
  get patienceMs(): number | undefined {
    return this.endsWithConnection ? HOLD_TIME_MS : undefined;
  }

  /** Whether these octets, the first, are all that is wanted: they need not be kept. */
  isWholeIn(octets: Buffer): boolean {
    return this.#heldBytes === 0 && !this.endsWithConnection && octets.length >= this.#wantedBytes;
  }

  add(octets: Buffer): void {
    this.octets.push(Buffer.from(octets));
    this.#heldBytes += octets.length;
  }

  get isEnough(): boolean {
    return this.#heldBytes >= this.#wantedBytes;
  }
}
