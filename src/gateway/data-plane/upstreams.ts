import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import { connect, type Socket, type TcpNetConnectOpts } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import type { Clock } from '../../base/index.ts';
import { CircuitBreaker } from './circuit-breaker.ts';
import type { Upstream } from './data-plane.ts';
import { type ConnectionOwner, Http1UpstreamConnection } from './http1/upstream-connection.ts';
import { Http2UpstreamStream } from './http2/upstream-stream.ts';
import type { UpstreamEvents, UpstreamRequest, UpstreamStream } from './upstream.ts';

/**
 * A kept connection is used for this long at the most after its last request: less than the 5 s after which Node's servers,
 * and all others that are known, close it, so that no request meets the end of one.
 */
const KEEP_ALIVE_MS = 4000;
const CONNECTIONS_PER_UPSTREAM = 1024;
const IDLE_PER_UPSTREAM = 256;
const ACCEPT_TIMEOUT_MS = 3000;
const READ_BUFFER_BYTES = 64 * 1024;

/** What is kept for one server. */
class Server implements ConnectionOwner {
  readonly breaker = new CircuitBreaker();
  readonly #clock: Clock;
  /** The one that was used last is at the end, and is used next. */
  readonly idle: Http1UpstreamConnection[] = [];
  readonly open = new Set<Http1UpstreamConnection>();
  session: ClientHttp2Session | undefined;
  usedMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  onReusable(connection: Http1UpstreamConnection): void {
    connection.idleSinceMs = this.#clock.monotonicMs();
    if (this.idle.length < IDLE_PER_UPSTREAM) this.idle.push(connection);
    else connection.abandon();
  }

  onClosed(connection: Http1UpstreamConnection): void {
    this.open.delete(connection);
    const index = this.idle.indexOf(connection);
    if (index >= 0) this.idle.splice(index, 1);
  }
}

/** The connections to all servers, kept open from one request to the next. */
export class Upstreams {
  readonly #clock: Clock;
  readonly #servers = new Map<string, Server>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether a request may go there now: it is not full, and does not fail one after the other. */
  takes(upstream: Upstream): boolean {
    const server = this.#server(upstream);
    return (
      server.open.size - server.idle.length < CONNECTIONS_PER_UPSTREAM &&
      server.breaker.allows(this.#clock.monotonicMs())
    );
  }

  /** To be told how a request to it went. */
  breaker(upstream: Upstream): CircuitBreaker {
    return this.#server(upstream).breaker;
  }

  /**
   * Sends a request. What comes of it is told to `events`, never before this returns, but `onUpstreamReady`.
   *
   * @param isFresh over a connection that no server is about to close: for what may not be sent twice.
   */
  ask(
    upstream: Upstream,
    request: UpstreamRequest,
    events: UpstreamEvents,
    isFresh: boolean,
  ): UpstreamStream {
    const server = this.#server(upstream);
    if (server.session && !request.isWebSocket)
      return new Http2UpstreamStream(server.session, request, events);
    const kept = isFresh ? undefined : this.#takeIdle(server);
    if (kept) {
      kept.start(request, events);
      return kept;
    }
    if (upstream.isTls && !request.isWebSocket) return this.#askOverTls(server, upstream, request, events);
    const connection = this.#connect(server, upstream);
    connection.start(request, events);
    return connection;
  }

  /** Octets to and from a server, as they are. */
  tunnel(upstream: Upstream, events: UpstreamEvents): UpstreamStream {
    const connection = this.#connect(this.#server(upstream), { ...upstream, isTls: false });
    connection.startTunnel(events);
    return connection;
  }

  /** Whether somebody listens there. A server that is too busy to answer in time does. */
  accepts({ host, port }: Upstream): Promise<boolean> {
    return new Promise((resolve) => {
      const socket = connect({ host, port });
      const finish = (isListening: boolean) => {
        timer[Symbol.dispose]();
        socket.destroy();
        resolve(isListening);
      };
      const timer = this.#clock.after(ACCEPT_TIMEOUT_MS, () => finish(true));
      socket.once('connect', () => finish(true)).once('error', () => finish(false));
    });
  }

  /** Closes what was not used for a while. */
  sweep(nowMs: number): void {
    for (const [key, server] of this.#servers) {
      for (const connection of server.idle.filter(
        ({ idleSinceMs }) => nowMs - idleSinceMs >= KEEP_ALIVE_MS,
      )) {
        connection.abandon();
      }
      if (server.open.size > 0 || server.session) server.usedMs = nowMs;
      else if (nowMs - server.usedMs > 60_000) this.#servers.delete(key);
    }
  }

  close(): void {
    for (const { open, session } of this.#servers.values()) {
      for (const connection of open) connection.abandon();
      session?.destroy();
    }
    this.#servers.clear();
  }

  #server({ host, port, isTls }: Upstream): Server {
    const key = `${isTls ? 'https' : 'http'}://${host}:${port}`;
    const known = this.#servers.get(key);
    if (known) return known;
    const server = new Server(this.#clock);
    server.usedMs = this.#clock.monotonicMs();
    this.#servers.set(key, server);
    return server;
  }

  #takeIdle(server: Server): Http1UpstreamConnection | undefined {
    const connection = server.idle.pop();
    if (!connection || this.#clock.monotonicMs() - connection.idleSinceMs < KEEP_ALIVE_MS) return connection;
    connection.abandon();
    return undefined;
  }

  #connect(server: Server, upstream: Upstream): Http1UpstreamConnection {
    let connection: Http1UpstreamConnection;
    if (upstream.isTls) {
      const socket = connectTls({ ...tlsOptions(upstream), ALPNProtocols: ['http/1.1'] });
      connection = new Http1UpstreamConnection(server, socket, false);
      socket.once('secureConnect', () => connection.connected());
      readFrom(socket, connection);
    } else {
      // A buffer of its own, read into again and again: no memory is got and cleared for every read.
      const buffer = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES);
      const onread = {
        buffer,
        callback: (count: number) => connection.onOctets(buffer.subarray(0, count)),
      };
      const socket = connect({ ...addressOf(upstream), noDelay: true, onread });
      connection = new Http1UpstreamConnection(server, socket, false);
      socket.once('connect', () => connection.connected());
    }
    server.open.add(connection);
    return connection;
  }

  /** Which version of HTTP the server speaks turns out with the connection. */
  #askOverTls(
    server: Server,
    upstream: Upstream,
    request: UpstreamRequest,
    events: UpstreamEvents,
  ): UpstreamStream {
    const socket = connectTls({ ...tlsOptions(upstream), ALPNProtocols: ['h2', 'http/1.1'] });
    const connection = new Http1UpstreamConnection(server, socket, false);
    server.open.add(connection);
    const late = new LateStream(connection);
    connection.start(request, events);
    socket.once('secureConnect', () => {
      if (socket.alpnProtocol !== 'h2') {
        readFrom(socket, connection);
        connection.connected();
        return;
      }
      connection.handOver();
      if (server.session) socket.destroy();
      else server.session = this.#openSession(server, upstream, socket);
      if (!late.isAbandoned) late.stream = new Http2UpstreamStream(server.session, request, events);
    });
    return late;
  }

  #openSession(server: Server, upstream: Upstream, socket: TLSSocket): ClientHttp2Session {
    const session = connectHttp2(`https://${upstream.host}:${upstream.port}`, {
      createConnection: () => socket,
    });
    const forget = () => {
      if (server.session === session) server.session = undefined;
    };
    session.on('error', forget).on('close', forget).on('goaway', forget);
    session.setTimeout(KEEP_ALIVE_MS, () => {
      forget();
      session.close();
    });
    session.unref();
    return session;
  }
}

/** Stands for the stream until it is known over which version of HTTP it goes. */
class LateStream implements UpstreamStream {
  stream: UpstreamStream;
  isAbandoned = false;

  constructor(first: UpstreamStream) {
    this.stream = first;
  }
  data(octets: Buffer): boolean {
    return this.stream.data(octets);
  }
  end(trailers: string): void {
    this.stream.end(trailers);
  }
  resume(): void {
    this.stream.resume();
  }
  abandon(): void {
    this.isAbandoned = true;
    this.stream.abandon();
  }
}

function readFrom(socket: Socket, connection: Http1UpstreamConnection): void {
  socket.on('data', (octets: Buffer) => {
    if (!connection.onOctets(octets)) socket.pause();
  });
}

const addressOf = ({ host, port, lookup }: Upstream): TcpNetConnectOpts => ({
  host,
  port,
  autoSelectFamily: true,
  ...(lookup && { lookup }),
});

const tlsOptions = (upstream: Upstream) => ({
  ...addressOf(upstream),
  servername: /^[\d.]+$|:/.test(upstream.host) ? '' : upstream.host,
  minVersion: 'TLSv1.2' as const,
});
