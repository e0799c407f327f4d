import { performServerHandshake, type ServerHttp2Session } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import { clientAddress } from '../accepted-socket.ts';
import { IDLE_TIMEOUT_MS, LINGER_MS } from '../client-timeouts.ts';
import { HEAD_LIMIT_BYTES } from '../http1/request-head.ts';
import type { Reception } from '../reception.ts';
import { Http2ClientStream } from './client-stream.ts';

const STREAM_LIMIT = 128;

/** What a client may have the gateway do. Floods of PING, SETTINGS, CONTINUATION and empty frames Node ends by itself. */
const BOUNDS = {
  settings: {
    maxConcurrentStreams: STREAM_LIMIT,
    // What is longer is answered by 431, unless it is so long that Node ends the connection.
    maxHeaderListSize: HEAD_LIMIT_BYTES,
    // So much of a body may come in before anybody reads it.
    initialWindowSize: 64 * 1024,
  },
  // Above the limit of fields, as cookies come in crumbs.
  maxHeaderListPairs: 256,
  // Browsers that leave a page cancel all of its requests at once; more than that is an attack (CVE-2023-44487).
  streamResetBurst: 2 * STREAM_LIMIT,
  streamResetRate: 32,
  // Requests that are not HTTP, until the connection is.
  maxSessionInvalidFrames: 100,
};

export interface Http2ConnectionOwner {
  onClosed(connection: Http2ClientConnection): void;
}

/** A client's connection over HTTP/2: any number of requests at a time. */
export class Http2ClientConnection {
  readonly address: string;
  readonly #reception: Reception;
  readonly #socket: TLSSocket;
  readonly #session: ServerHttp2Session;
  readonly #streams = new Set<Http2ClientStream>();
  /** Since when nobody uses it. */
  #idleSinceMs: number;

  constructor(reception: Reception, socket: TLSSocket, owner: Http2ConnectionOwner) {
    this.#reception = reception;
    this.#socket = socket;
    this.#idleSinceMs = reception.clock.monotonicMs();
    this.address = clientAddress(socket);
    const session = performServerHandshake(socket, BOUNDS);
    this.#session = session;
    session.on('stream', (stream, headers, _flags, raw) => {
      // Some are taken back before their turn.
      if (stream.destroyed || stream.closed) return;
      const request = new Http2ClientStream(reception, stream, this.address);
      this.#streams.add(request);
      stream.once('close', () => {
        this.#streams.delete(request);
        this.#idleSinceMs = reception.clock.monotonicMs();
      });
      request.start(headers, raw);
    });
    // Its streams are told, and the socket is closed.
    session.on('error', () => undefined);
    socket.on('error', () => undefined);
    socket.once('close', () => owner.onClosed(this));
  }

  /** No further request (GOAWAY): ends when those under way are over. */
  close(): void {
    this.#idleSinceMs = this.#reception.clock.monotonicMs();
    this.#session.close();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** Ends what takes too long. Called now and then. */
  check(nowMs: number): void {
    for (const stream of this.#streams) stream.check(nowMs);
    if (this.#streams.size > 0) return;
    const idleMs = nowMs - this.#idleSinceMs;
    if (this.#session.closed || this.#session.destroyed) {
      // It was told, and does not hang up.
      if (idleMs >= LINGER_MS) this.#socket.destroy();
    } else if (idleMs >= IDLE_TIMEOUT_MS) this.close();
  }
}
