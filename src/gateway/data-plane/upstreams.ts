import { connect, isIP, type Socket, type TcpNetConnectOpts } from 'node:net';
import {
  type ConnectionOptions,
  connect as connectTls,
  createSecureContext,
  type SecureContext,
  type TLSSocket,
} from 'node:tls';
import type { Clock } from '../../base/index.ts';
import { CircuitBreaker } from './circuit-breaker.ts';
import type { Upstream } from './data-plane.ts';
import { type ConnectionOwner, Http1UpstreamConnection } from './http1/upstream-connection.ts';
import { Http2UpstreamSession, type SessionOwner } from './http2/upstream-session.ts';
import { TlsOpening, type WaitingStream } from './tls/tls-opening.ts';
import type { UpstreamEvents, UpstreamRequest, UpstreamStream } from './upstream.ts';

/**
 * A kept connection is used for this long at the most after its last request: less than the 5 s after which Node's servers,
 * and all others that are known, close it, so that no request meets the end of one.
 */
const KEEP_ALIVE_MS = 4000;
const REQUESTS_PER_UPSTREAM = 1024;
const IDLE_PER_UPSTREAM = 256;
/** Beyond so many those without a connection are forgotten: clients of the forward proxy name what they like. */
const SERVER_LIMIT = 10_000;
const ACCEPT_TIMEOUT_MS = 3000;
const READ_BUFFER_BYTES = 64 * 1024;

/** What is kept for one server. */
class Server implements ConnectionOwner, SessionOwner {
  readonly breaker = new CircuitBreaker();
  readonly #clock: Clock;
  /** The one that was used last is at the end, and is used next. */
  readonly idle: Http1UpstreamConnection[] = [];
  readonly open = new Set<Http1UpstreamConnection>();
  /** Those over HTTP/2. */
  readonly sessions = new Set<Http2UpstreamSession>();
  /** A connection by TLS, of which it is not known yet what it will be. */
  opening: TlsOpening | undefined;
  /** It has chosen HTTP/1.1: nobody waits to see what it chooses next time. */
  isHttp1 = false;
  secureContext: SecureContext | undefined;
  usedMs = 0;
  /** Another one stands for this server by now. */
  isForgotten = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get hasConnections(): boolean {
    return this.open.size > 0 || this.sessions.size > 0 || this.opening !== undefined;
  }

  /** Requests that are under way. */
  get active(): number {
    let active = this.open.size - this.idle.length + (this.opening?.waiting ?? 0);
    for (const session of this.sessions) active += session.active;
    return active;
  }

  /** A connection over HTTP/2 that has room. */
  get session(): Http2UpstreamSession | undefined {
    for (const session of this.sessions) if (session.takesMore) return session;
    return undefined;
  }

  onSessionClosed(session: Http2UpstreamSession): void {
    this.sessions.delete(session);
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
  readonly #byUpstream = new WeakMap<Upstream, Server>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether a request may go there now: it is not full, and does not fail one after the other. */
  takes(upstream: Upstream): boolean {
    const server = this.#server(upstream);
    return server.active < REQUESTS_PER_UPSTREAM && server.breaker.allows(this.#clock.monotonicMs());
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
    const session = upstream.isTls && !request.isWebSocket ? server.session : undefined;
    if (session) return session.ask(request, events);
    const kept = isFresh ? undefined : this.#takeIdle(server);
    if (kept) {
      kept.start(request, events);
      return kept;
    }
    if (upstream.isTls && !request.isWebSocket && !server.isHttp1) {
      server.opening ??= this.#open(server, upstream);
      return server.opening.add(request, events);
    }
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
      for (const session of server.sessions) session.sweep(nowMs);
      if (server.hasConnections) server.usedMs = nowMs;
      else server.isHttp1 = false;
      if (nowMs - server.usedMs > 60_000) this.#forget(key, server);
    }
  }

  close(): void {
    for (const { open, sessions, opening } of this.#servers.values()) {
      for (const connection of open) connection.abandon();
      for (const session of sessions) session.destroy();
      opening?.destroy();
    }
    this.#servers.clear();
  }

  /** Found by the object first: a route's upstream stays the same from one request to the next. */
  #server(upstream: Upstream): Server {
    const found = this.#byUpstream.get(upstream);
    if (found && !found.isForgotten) return found;
    const server = this.#serverAt(upstream);
    this.#byUpstream.set(upstream, server);
    return server;
  }

  #serverAt({ host, port, isTls, realm = '', caPem = '' }: Upstream): Server {
    const key = `${isTls ? 'https' : 'http'}://${host}:${port}${realm}${caPem}`;
    const known = this.#servers.get(key);
    if (known) return known;
    if (this.#servers.size >= SERVER_LIMIT) this.#forgetUnused();
    const server = new Server(this.#clock);
    server.usedMs = this.#clock.monotonicMs();
    this.#servers.set(key, server);
    return server;
  }

  #forgetUnused(): void {
    for (const [key, server] of this.#servers) if (!server.hasConnections) this.#forget(key, server);
  }

  #forget(key: string, server: Server): void {
    server.isForgotten = true;
    this.#servers.delete(key);
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
      const socket = connectTls({ ...tlsOptions(server, upstream), ALPNProtocols: ['http/1.1'] });
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
      const socket = connect({ ...addressOf(upstream), onread });
      connection = new Http1UpstreamConnection(server, socket, false);
      socket.once('connect', () => connection.connected());
    }
    server.open.add(connection);
    return connection;
  }

  #open(server: Server, upstream: Upstream): TlsOpening {
    const options = { ...tlsOptions(server, upstream), ALPNProtocols: ['h2', 'http/1.1'] };
    const opening = new TlsOpening(this.#clock, options, {
      onOpen: (socket, waiting) => {
        if (server.opening === opening) server.opening = undefined;
        if (socket.alpnProtocol === 'h2') this.#goOverHttp2(server, upstream, socket, waiting);
        else this.#goOverHttp1(server, upstream, socket, waiting);
      },
      onNotOpened: () => {
        if (server.opening === opening) server.opening = undefined;
      },
    });
    return opening;
  }

  #goOverHttp2(
    server: Server,
    upstream: Upstream,
    socket: TLSSocket,
    waiting: readonly WaitingStream[],
  ): void {
    server.sessions.add(new Http2UpstreamSession(this.#clock, socket, server));
    for (const each of waiting) each.goOver(this.ask(upstream, each.request, each.events, true));
  }

  /** One of them can have the connection; the others have one made for each. */
  #goOverHttp1(
    server: Server,
    upstream: Upstream,
    socket: TLSSocket,
    waiting: readonly WaitingStream[],
  ): void {
    server.isHttp1 = true;
    const connection = new Http1UpstreamConnection(server, socket, true);
    readFrom(socket, connection);
    server.open.add(connection);
    const [first, ...others] = waiting;
    if (first) {
      first.goOver(connection);
      connection.start(first.request, first.events);
    } else server.onReusable(connection);
    for (const each of others) each.goOver(this.ask(upstream, each.request, each.events, true));
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
  noDelay: true,
  ...(lookup && { lookup }),
});

function tlsOptions(server: Server, { host, caPem, ...address }: Upstream): ConnectionOptions {
  // Once for all connections: reading certificates takes longer than a handshake.
  server.secureContext ??= createSecureContext({
    minVersion: 'TLSv1.2',
    ...(caPem !== undefined && { ca: caPem }),
  });
  return {
    ...addressOf({ host, ...address }),
    // An address is no server name (RFC 6066 §3).
    servername: isIP(host) ? '' : host,
    secureContext: server.secureContext,
  };
}
