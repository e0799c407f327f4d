import type { IncomingMessage } from 'node:http';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

/** Bodies up to this size are kept until the answer begins, so that the request can be sent again. */
const KEEP_LIMIT_BYTES = 64 * 1024;

/** The body of a client's request, sent upstream as it comes, or kept whole when it is small. */
export class RequestBody {
  readonly #request: IncomingMessage;
  readonly #kept: Buffer | undefined;
  readonly #isEmpty: boolean;
  #isConsumed = false;

  private constructor(request: IncomingMessage, isEmpty: boolean, kept: Buffer | undefined) {
    this.#request = request;
    this.#isEmpty = isEmpty;
    this.#kept = kept;
  }

  /** Reads a small body whole; leaves a large one, or one of unknown length, to be streamed. */
  static async of(request: IncomingMessage): Promise<RequestBody> {
    const isChunked = request.headers['transfer-encoding'] !== undefined;
    const lengthBytes = Number(request.headers['content-length'] ?? 0);
    if (isChunked || lengthBytes > KEEP_LIMIT_BYTES) return new RequestBody(request, false, undefined);
    if (lengthBytes === 0) return new RequestBody(request, true, undefined);
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    return new RequestBody(request, false, Buffer.concat(chunks));
  }

  /** Whether all of it can be sent (again). */
  get isWhole(): boolean {
    return this.#isEmpty || this.#kept !== undefined || !this.#isConsumed;
  }

  /**
   * The fields that frame it upstream, beside a `Content-Length` that came with it. Always explicit: left to itself,
   * Node's client would send a GET's chunked body without any framing.
   */
  framing(): string[] {
    if (this.#request.headers['transfer-encoding'] !== undefined) return ['Transfer-Encoding', 'chunked'];
    const { method = '', headers } = this.#request;
    const wantsLength = method === 'POST' || method === 'PUT' || method === 'PATCH';
    return wantsLength && headers['content-length'] === undefined ? ['Content-Length', '0'] : [];
  }

  /** Sends it. Rejects when either side breaks. */
  async sendTo(upstream: Writable): Promise<void> {
    if (this.#isEmpty || this.#kept) {
      upstream.end(this.#kept);
      return;
    }
    this.#isConsumed = true;
    await pipeline(this.#request, upstream);
  }
}
