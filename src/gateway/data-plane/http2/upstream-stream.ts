import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  constants,
  type IncomingHttpHeaders,
} from 'node:http2';
import { UNTIL_CLOSE } from '../http1/message-length.ts';
import type { ResponseHead } from '../http1/response-head.ts';
import type { UpstreamEvents, UpstreamRequest, UpstreamStream } from '../upstream.ts';
import { fieldsOf, linesOf } from './fields.ts';

type Answer = IncomingHttpHeaders & { ':status'?: number | undefined };

/** A request over a connection to a server that speaks HTTP/2 (RFC 9113). */
export class Http2UpstreamStream implements UpstreamStream {
  readonly #stream: ClientHttp2Stream;
  #events: UpstreamEvents | undefined;
  #trailers = '';
  #hasTrailersToSend = false;

  constructor(session: ClientHttp2Session, request: UpstreamRequest, events: UpstreamEvents) {
    this.#events = events;
    const { method, path, host, fields, bodyLength, body } = request;
    const endStream = bodyLength === 0;
    const length = bodyLength > 0 ? { 'content-length': String(bodyLength) } : {};
    this.#stream = session.request(
      {
        ':method': method,
        ':path': path,
        ':scheme': 'https',
        ':authority': host,
        ...fieldsOf(fields),
        ...length,
      },
      { endStream, waitForTrailers: !endStream },
    );
    events.onTraffic(fields.length + path.length);
    this.#listen();
    if (body !== undefined) {
      events.onTraffic(body.length);
      this.#stream.end(body);
    } else if (!endStream) queueMicrotask(() => this.#events?.onUpstreamReady());
  }

  #listen(): void {
    const stream = this.#stream;
    stream.on('headers', (headers: Answer) => {
      const head = headOf(headers);
      if (head.status !== 100) this.#events?.onInterim(head);
    });
    stream.on('response', (headers) => this.#onResponse(headers));
    stream.on('trailers', (headers: IncomingHttpHeaders) => {
      this.#trailers = linesOf(headers);
    });
    stream.on('drain', () => this.#events?.onUpstreamDrain());
    stream.on('wantTrailers', () => {
      if (this.#hasTrailersToSend) stream.sendTrailers(fieldsOf(this.#trailersToSend));
      else stream.close();
    });
    stream.on('data', (octets: Buffer) => {
      const events = this.#events;
      if (!events) return;
      events.onTraffic(octets.length);
      if (!events.onData(octets)) stream.pause();
      events.onPause();
    });
    stream.on('end', () => this.#finish());
    stream.on('error', () => undefined);
    stream.on('close', () => this.#fail());
  }
  #trailersToSend = '';

  #onResponse(headers: Answer): void {
    const head = headOf(headers);
    this.#events?.onTraffic(head.kept.length);
    this.#events?.onHead({ ...head, hasBody: !this.#stream.endAfterHeaders && head.hasBody });
    this.#events?.onPause();
  }

  #finish(): void {
    const events = this.#events;
    this.#events = undefined;
    events?.onEnd(this.#trailers);
  }

  #fail(): void {
    const events = this.#events;
    this.#events = undefined;
    // What the server has not looked at may be sent again (RFC 9113 §8.7).
    const wasSent = this.#stream.rstCode !== constants.NGHTTP2_REFUSED_STREAM;
    events?.onFailure({ reason: wasSent ? 'broken' : 'refused', wasSent, wasStale: false });
  }

  data(octets: Buffer): boolean {
    this.#events?.onTraffic(octets.length);
    return this.#stream.write(Buffer.from(octets));
  }

  end(trailers: string): void {
    this.#hasTrailersToSend = trailers !== '';
    this.#trailersToSend = trailers;
    this.#stream.end();
  }

  resume(): void {
    this.#stream.resume();
  }

  abandon(): void {
    this.#events = undefined;
    this.#stream.close(constants.NGHTTP2_CANCEL);
  }
}

function headOf(headers: Answer): ResponseHead {
  const status = headers[':status'] ?? 502;
  const length = headers['content-length'];
  return {
    status,
    reason: '',
    kept: linesOf(headers),
    bodyLength: length === undefined ? UNTIL_CLOSE : Number(length),
    hasBody: status >= 200 && status !== 204 && status !== 304,
    keepsConnection: true,
    upgrade: '',
    end: 0,
  };
}
