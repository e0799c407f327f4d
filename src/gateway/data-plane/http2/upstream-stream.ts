import { type ClientHttp2Session, type ClientHttp2Stream, constants } from 'node:http2';
import { TRAILER_FIELDS } from '../http1/chunked-body.ts';
import { CHUNKED, UNTIL_CLOSE } from '../http1/message-length.ts';
import { RESPONSE_FIELDS, type ResponseHead } from '../http1/response-head.ts';
import type { UpstreamEvents, UpstreamRequest, UpstreamStream } from '../upstream.ts';
import { fieldsOf, readFields } from './fields.ts';

/** 1xx heads before an answer. */
const INTERIM_LIMIT = 16;

/** The connection that a request goes over. */
export interface StreamOwner {
  /** Whether requests have gone over it before: then its end says nothing about the server's health. */
  readonly wasUsed: boolean;
  /** The server has said something. */
  onHeard(): void;
  onStreamClosed(): void;
}

/** A request over a connection to a server that speaks HTTP/2 (RFC 9113). */
export class Http2UpstreamStream implements UpstreamStream {
  readonly #session: ClientHttp2Session;
  readonly #stream: ClientHttp2Stream;
  readonly #owner: StreamOwner;
  readonly #wasUsed: boolean;
  readonly #method: string;
  #events: UpstreamEvents | undefined;
  #hasAnswered = false;
  #interims = 0;
  /** Octets of the answer's body that are still to come, when that was told. */
  #left = 0;
  #trailers = '';
  #trailersToSend = '';
  /** The request's body is on its way still. */
  #isSending: boolean;

  constructor(
    session: ClientHttp2Session,
    owner: StreamOwner,
    request: UpstreamRequest,
    events: UpstreamEvents,
  ) {
    const { method, path, host, fields, bodyLength, body } = request;
    this.#session = session;
    this.#owner = owner;
    this.#wasUsed = owner.wasUsed;
    this.#method = method;
    this.#events = events;
    this.#isSending = bodyLength !== 0 && body === undefined;
    this.#stream = session.request(
      {
        ':method': method,
        ':path': path,
        ':scheme': 'https',
        ':authority': host,
        ...fieldsOf(fields),
        // Whoever wants none is not given them; and some servers answer nobody who wants none.
        te: 'trailers',
        ...(bodyLength > 0 && { 'content-length': bodyLength }),
      },
      // Also where there are no trailers: without this, Node ends a stream as if it were whole before it resets it.
      { endStream: bodyLength === 0, waitForTrailers: this.#isSending },
    );
    events.onTraffic(method.length + path.length + host.length + fields.length);
    this.#listen();
    if (body !== undefined) {
      events.onTraffic(body.length);
      this.#stream.end(body);
    } else if (this.#isSending) queueMicrotask(() => this.#events?.onUpstreamReady());
  }

  #listen(): void {
    const stream = this.#stream;
    stream.on('headers', (headers, _flags, raw) => this.#onInterim(headers[':status'], raw));
    stream.on('response', (headers, _flags, raw) => this.#onResponse(headers[':status'], raw));
    stream.on('data', (octets: Buffer) => this.#onData(octets));
    stream.on('trailers', (_headers, _flags, raw) => {
      this.#trailers = readFields(raw, TRAILER_FIELDS)?.kept ?? '';
    });
    stream.on('end', () => this.#onEnd());
    stream.on('drain', () => this.#events?.onUpstreamDrain());
    stream.on('wantTrailers', () => {
      if (!stream.destroyed && !stream.closed) stream.sendTrailers(fieldsOf(this.#trailersToSend));
    });
    // What it means is decided when it is closed, right after.
    stream.on('error', () => undefined);
    stream.on('close', () => {
      this.#fail();
      this.#owner.onStreamClosed();
    });
  }

  #onInterim(status = 0, raw: readonly string[]): void {
    this.#owner.onHeard();
    this.#interims += 1;
    const fields = readFields(raw, RESPONSE_FIELDS);
    if (!fields || this.#interims > INTERIM_LIMIT) {
      this.#break();
      return;
    }
    // 100: the expectation was answered at this gateway, and is not passed on.
    if (status !== 100) this.#events?.onInterim(headOf(status, fields.kept, UNTIL_CLOSE, false));
  }

  #onResponse(status = 0, raw: readonly string[]): void {
    this.#owner.onHeard();
    const events = this.#events;
    const head = this.#readHead(status, raw);
    if (!events) return;
    if (!head) {
      this.#break();
      return;
    }
    this.#hasAnswered = true;
    this.#left = head.hasBody ? head.bodyLength : 0;
    events.onTraffic(head.kept.length);
    events.onHead(head);
    if (this.#events === events) events.onPause();
  }

  /** `undefined` when it is not as an answer must be. */
  #readHead(status: number, raw: readonly string[]): ResponseHead | undefined {
    const fields = readFields(raw, RESPONSE_FIELDS);
    if (!fields || status < 200 || status > 599) return undefined;
    const { kept, contentLength } = fields;
    if (contentLength !== undefined && !/^\d{1,15}$/.test(contentLength)) return undefined;
    const named = contentLength === undefined ? undefined : Number(contentLength);
    // These name the length of a body that does not come (RFC 9110 §8.6).
    const isBodiless = this.#method === 'HEAD' || status === 204 || status === 304;
    if (isBodiless) return headOf(status, kept, named ?? UNTIL_CLOSE, false);
    if (this.#stream.endAfterHeaders) return named ? undefined : headOf(status, kept, 0, false);
    return headOf(status, kept, named ?? CHUNKED, named !== 0);
  }

  #onData(octets: Buffer): void {
    this.#owner.onHeard();
    const events = this.#events;
    if (!events) return;
    events.onTraffic(octets.length);
    this.#left -= octets.length;
    if (!events.onData(octets)) this.#stream.pause();
    if (this.#events === events) events.onPause();
  }

  /**
   * The answer is whole. A server that breaks off an answer of a length that it has not told, and calls that no error, is taken
   * at its word: Node does not tell the two apart.
   */
  #onEnd(): void {
    const events = this.#events;
    if (!events || !this.#hasAnswered || this.#left > 0) return;
    this.#events = undefined;
    // What is still to come of the request would be for nobody.
    if (this.#isSending) this.#close(constants.NGHTTP2_NO_ERROR);
    events.onEnd(this.#trailers);
  }

  /** What the server sends is not HTTP. */
  #break(): void {
    this.#close(constants.NGHTTP2_PROTOCOL_ERROR);
    this.#fail();
  }

  #fail(): void {
    const events = this.#events;
    if (!events) return;
    this.#events = undefined;
    // What the server has not looked at may be sent again (RFC 9113 §8.7).
    const isRefused = this.#stream.rstCode === constants.NGHTTP2_REFUSED_STREAM;
    const wasSent = this.#stream.id !== undefined && !isRefused;
    const hasLostConnection = this.#session.destroyed || this.#session.closed;
    events.onFailure({
      reason: wasSent ? 'broken' : 'refused',
      wasSent,
      wasStale: !this.#hasAnswered && (isRefused || (this.#wasUsed && hasLostConnection)),
    });
  }

  #close(code: number): void {
    if (!this.#stream.destroyed && !this.#stream.closed) this.#stream.close(code);
    // A stream that is paused would wait to be read before it is closed.
    this.#stream.resume();
  }

  data(octets: Buffer): boolean {
    if (this.#stream.destroyed || this.#stream.closed) return true;
    this.#events?.onTraffic(octets.length);
    return this.#stream.write(Buffer.from(octets));
  }

  end(trailers: string): void {
    this.#isSending = false;
    this.#trailersToSend = trailers;
    if (!this.#stream.destroyed && !this.#stream.closed) this.#stream.end();
  }

  resume(): void {
    this.#stream.resume();
  }

  abandon(): void {
    this.#events = undefined;
    this.#close(constants.NGHTTP2_CANCEL);
  }
}

const headOf = (status: number, kept: string, bodyLength: number, hasBody: boolean): ResponseHead => ({
  status,
  reason: '',
  kept,
  bodyLength,
  hasBody,
  keepsConnection: true,
  upgrade: '',
  end: 0,
});
