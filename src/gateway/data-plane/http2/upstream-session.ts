import { type ClientHttp2Session, connect } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import type { Clock } from '../../../base/index.ts';
import type { UpstreamEvents, UpstreamRequest, UpstreamStream } from '../upstream.ts';
import { Http2UpstreamStream } from './upstream-stream.ts';

/** Requests over one connection at a time, when the server allows more. */
const STREAM_LIMIT = 100;
/** What a stream may hold for a slow client, and what comes in over a long line without waiting. */
const STREAM_WINDOW_BYTES = 256 * 1024;
const CONNECTION_WINDOW_BYTES = 4 * 2 ** 20;
const KEEP_ALIVE_MS = 30_000;
/** A server of which nothing was heard for so long, while it owes answers, is asked whether it is there. */
const SILENCE_MS = 10_000;
const PING_TIMEOUT_MS = 5000;

export interface SessionOwner {
  /** It takes no more requests. */
  onSessionClosed(session: Http2UpstreamSession): void;
}

/** A connection to a server that speaks HTTP/2: many requests at a time. */
export class Http2UpstreamSession {
  readonly #clock: Clock;
  readonly #socket: TLSSocket;
  readonly #session: ClientHttp2Session;
  #streamLimit = STREAM_LIMIT;
  #active = 0;
  #wasUsed = false;
  /** On the monotonic clock, as all here. */
  #usedMs: number;
  #heardMs: number;
  #pingedMs: number | undefined;

  constructor(clock: Clock, socket: TLSSocket, owner: SessionOwner) {
    this.#clock = clock;
    this.#socket = socket;
    this.#usedMs = clock.monotonicMs();
    this.#heardMs = this.#usedMs;
    // The URL is needed for no request: each names its own authority.
    const session = connect('https://origin.invalid', {
      createConnection: () => socket,
      settings: { enablePush: false, initialWindowSize: STREAM_WINDOW_BYTES },
    });
    this.#session = session;
    session.once('connect', () => session.setLocalWindowSize(CONNECTION_WINDOW_BYTES));
    session.on('remoteSettings', ({ maxConcurrentStreams = STREAM_LIMIT }) => {
      this.#streamLimit = Math.min(STREAM_LIMIT, maxConcurrentStreams);
    });
    const forget = () => owner.onSessionClosed(this);
    session.on('goaway', forget).on('error', forget).on('close', forget);
  }

  get active(): number {
    return this.#active;
  }

  get takesMore(): boolean {
    return !this.#session.closed && !this.#session.destroyed && this.#active < this.#streamLimit;
  }

  ask(request: UpstreamRequest, events: UpstreamEvents): UpstreamStream {
    const nowMs = this.#clock.monotonicMs();
    if (this.#active === 0) this.#heardMs = nowMs;
    this.#active += 1;
    const owner = {
      wasUsed: this.#wasUsed,
      onHeard: () => {
        this.#heardMs = this.#clock.monotonicMs();
      },
      onStreamClosed: () => {
        this.#active -= 1;
        this.#usedMs = this.#clock.monotonicMs();
      },
    };
    this.#wasUsed = true;
    return new Http2UpstreamStream(this.#session, owner, request, events);
  }

  /** Ends it when nobody uses it, or when nobody is there. Called now and then. */
  sweep(nowMs: number): void {
    if (this.#active === 0) {
      if (nowMs - this.#usedMs >= KEEP_ALIVE_MS) this.destroy();
    } else if (nowMs - this.#heardMs >= SILENCE_MS) this.#probe(nowMs);
  }

  #probe(nowMs: number): void {
    if (this.#pingedMs === undefined) {
      this.#pingedMs = nowMs;
      this.#session.ping((error) => {
        this.#pingedMs = undefined;
        if (!error) this.#heardMs = this.#clock.monotonicMs();
      });
    } else if (nowMs - this.#pingedMs >= PING_TIMEOUT_MS) this.destroy();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}
