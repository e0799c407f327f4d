import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { AnswerHead, ClientStream } from '../client.ts';
import { BODY_WINDOW_BYTES, BODY_WINDOW_MS, LINGER_MS, WRITE_TIMEOUT_MS } from '../client-timeouts.ts';
import { TRAILER_FIELDS } from '../http1/chunked-body.ts';
import type { ResponseHead } from '../http1/response-head.ts';
import type { Reception } from '../reception.ts';
import type { Visit } from '../visit.ts';
import { fieldsOf, readFields } from './fields.ts';
import { readRequestHead } from './request-head.ts';

const NEVER = Number.POSITIVE_INFINITY;

/** One request of a client that speaks HTTP/2, and its answer (RFC 9113 §8). */
export class Http2ClientStream implements ClientStream {
  readonly address: string;
  readonly scheme = 'https';
  readonly protocol = 'HTTP/2.0';
  readonly #reception: Reception;
  readonly #stream: ServerHttp2Stream;
  #visit: Visit | undefined;
  /** The answer is over, but octets of it are still to be sent, and its server waits for them. */
  #lastVisit: Visit | undefined;
  #isBodyOver = true;
  #bodyLeft = 0;
  #trailersReceived = '';
  #awaitsContinue = false;
  #windowBytes = 0;
  /** When more of the body has to be here. */
  #bodyDeadlineMs = NEVER;

  #hasBody = false;
  #isDraining = false;
  #trailersToSend = '';
  /** When the client has to have taken what it was sent. */
  #writeDeadlineMs = NEVER;
  /** When a request whose answer is out, and whose body is not over, is cut off. */
  #lingerDeadlineMs = NEVER;

  constructor(reception: Reception, stream: ServerHttp2Stream, address: string) {
    this.#reception = reception;
    this.#stream = stream;
    this.address = address;
    // Read when somebody wants it.
    stream.pause();
    stream.on('data', (octets: Buffer) => this.#onData(octets));
    stream.on('trailers', (_headers, _flags, raw) => this.#onTrailers(raw));
    stream.on('end', () => this.#onBodyEnd());
    stream.on('drain', () => this.#onDrained());
    stream.on('finish', () => this.#onFinished());
    stream.on('wantTrailers', () => {
      if (this.#isOpen) stream.sendTrailers(fieldsOf(this.#trailersToSend));
    });
    // What it means is decided when it is closed, right after.
    stream.on('error', () => undefined);
    // Cut off without an error it is not closed before all of it is read.
    stream.on('aborted', () => this.#onGone());
    stream.on('close', () => this.#onGone());
  }

  /** Serves the request whose head came in. */
  start(headers: IncomingHttpHeaders, raw: readonly string[]): void {
    const head = readRequestHead(headers, raw, !this.#stream.endAfterHeaders);
    if (head.kind === 'refusal') {
      this.#refuse(headers[':method'] ?? '', head.status, head.reason);
      return;
    }
    this.#isBodyOver = head.bodyLength === 0;
    this.#bodyLeft = head.bodyLength;
    this.#awaitsContinue = head.expectsContinue;
    // Nothing is in it, but it has to end.
    if (this.#isBodyOver) this.#stream.resume();
    this.#visit = this.#reception.receive(this, head);
    this.#visit?.start();
  }

  /** Ends what takes too long. Called now and then. */
  check(nowMs: number): void {
    if (nowMs >= this.#bodyDeadlineMs && this.#windowBytes >= BODY_WINDOW_BYTES) this.#awaitBody();
    const isTooSlow = nowMs >= Math.min(this.#bodyDeadlineMs, this.#writeDeadlineMs);
    if (isTooSlow) this.#close(constants.NGHTTP2_CANCEL);
    else if (nowMs >= this.#lingerDeadlineMs) this.#close(constants.NGHTTP2_NO_ERROR);
    else if (this.#visit && nowMs >= this.#visit.deadlineMs) this.#visit.onDeadline();
  }

  get #isOpen(): boolean {
    return !this.#stream.destroyed && !this.#stream.closed;
  }

  #close(code: number): void {
    this.#bodyDeadlineMs = NEVER;
    this.#writeDeadlineMs = NEVER;
    this.#lingerDeadlineMs = NEVER;
    if (this.#isOpen) this.#stream.close(code);
    // A stream that is paused would wait to be read before it is closed.
    this.#stream.resume();
  }

  // Reading

  #onData(octets: Buffer): void {
    const visit = this.#visit;
    if (!visit || this.#isBodyOver) return;
    this.#windowBytes += octets.length;
    this.#bodyLeft -= octets.length;
    if (visit.onBody(octets)) return;
    this.#bodyDeadlineMs = NEVER;
    this.#stream.pause();
  }

  #onTrailers(raw: readonly string[]): void {
    const fields = readFields(raw, TRAILER_FIELDS);
    if (fields && fields.contentLength === undefined) this.#trailersReceived = fields.kept;
    else this.#breakOff('what the client sent as trailers are none');
  }

  #onBodyEnd(): void {
    const visit = this.#visit;
    if (!visit || this.#isBodyOver) return;
    // Cut off without an error it ends here too. What was announced and is missing HTTP/2 itself notices, and we do.
    if (this.#stream.closed || this.#bodyLeft > 0) {
      this.#breakOff('the client broke off the body of its request');
      return;
    }
    this.#isBodyOver = true;
    this.#bodyDeadlineMs = NEVER;
    visit.onBodyEnd(this.#trailersReceived);
  }

  #breakOff(reason: string): void {
    const visit = this.#visit;
    this.#visit = undefined;
    this.#close(constants.NGHTTP2_PROTOCOL_ERROR);
    visit?.onClientGone(reason);
  }

  #onGone(): void {
    const visit = this.#visit;
    const lastVisit = this.#lastVisit;
    this.#visit = undefined;
    this.#lastVisit = undefined;
    visit?.onClientGone('client broke off');
    lastVisit?.onClientGone('client broke off');
    this.#close(constants.NGHTTP2_CANCEL);
  }

  // Writing

  wantBody(): void {
    if (!this.#isOpen) return;
    if (this.#awaitsContinue) {
      this.#awaitsContinue = false;
      this.#stream.additionalHeaders({ ':status': 100 });
    }
    if (!this.#isBodyOver) this.#awaitBody();
    this.#stream.resume();
  }

  #awaitBody(): void {
    this.#windowBytes = 0;
    this.#bodyDeadlineMs = this.#reception.clock.monotonicMs() + BODY_WINDOW_MS;
  }

  interim({ status, kept }: ResponseHead): void {
    if (this.#isOpen && !this.#stream.headersSent) {
      this.#stream.additionalHeaders({ ...fieldsOf(kept), ':status': status });
    }
  }

  begin({ status, kept, bodyLength, hasBody }: AnswerHead, servedBy: string | undefined): void {
    if (!this.#isOpen) return;
    const headers = fieldsOf(kept);
    headers[':status'] = status;
    // Neither has a body (RFC 9110 §15.3.5, §15.3.6), whatever its server sends.
    const mayHaveBody = status !== 204 && status !== 205;
    if (bodyLength >= 0 && mayHaveBody) headers['content-length'] = bodyLength;
    if (servedBy !== undefined) headers['orilla-served-by'] = servedBy;
    this.#hasBody = hasBody && mayHaveBody;
    const options = {
      endStream: !this.#hasBody,
      // Also where there are none: without this, Node ends a stream as if it were whole before it resets it.
      waitForTrailers: this.#hasBody,
      // The answer's own, if it has one. (Node's types do not know of it.)
      sendDate: false,
    };
    this.#stream.respond(headers, options);
  }

  data(octets: Buffer): boolean {
    if (!this.#hasBody || !this.#isOpen) return true;
    // They may have to wait for the client's window, longer than they stay as they are.
    if (this.#stream.write(Buffer.from(octets))) return true;
    this.#isDraining = true;
    this.#awaitWrite();
    return false;
  }

  flush(): void {
    // Sent as soon as there is something.
  }

  #awaitWrite(): void {
    this.#writeDeadlineMs = this.#reception.clock.monotonicMs() + WRITE_TIMEOUT_MS;
  }

  #onDrained(): void {
    this.#writeDeadlineMs = NEVER;
    if (!this.#isDraining) return;
    this.#isDraining = false;
    this.#visit?.onClientDrain();
    this.#lastVisit?.onClientDrain();
    this.#lastVisit = undefined;
  }

  /** All of the answer is out but its trailers. */
  #onFinished(): void {
    if (this.#isOpen) this.#onDrained();
  }

  end(trailers: string): void {
    if (this.#isDraining) this.#lastVisit = this.#visit;
    this.#visit = undefined;
    this.#bodyDeadlineMs = NEVER;
    if (!this.#isOpen) return;
    this.#trailersToSend = trailers;
    if (this.#hasBody) {
      this.#awaitWrite();
      this.#stream.end();
    }
    if (this.#isBodyOver) return;
    // The rest of the request is for nobody. It is read over for a moment, so that the client sees the answer.
    this.#lingerDeadlineMs = this.#reception.clock.monotonicMs() + LINGER_MS;
    this.#stream.resume();
  }

  abort(): void {
    this.#visit = undefined;
    this.#close(constants.NGHTTP2_INTERNAL_ERROR);
  }

  switchProtocols(): void {
    // Nothing is asked to switch: neither CONNECT nor WebSocket comes by HTTP/2.
    this.abort();
  }

  /** A refusal before anybody was asked. */
  #refuse(method: string, status: number, message: string): void {
    const body = Buffer.from(`${message}\n`);
    this.#isBodyOver = this.#stream.endAfterHeaders;
    const kept = 'content-type: text/plain; charset=utf-8\r\n';
    const hasBody = method !== 'HEAD';
    this.begin({ status, reason: '', kept, bodyLength: body.length, hasBody }, undefined);
    this.data(body);
    this.end('');
    this.#stream.resume();
    this.#reception.observeRefusal(status, message, this);
  }
}
