import { createServer, type Server, type Socket } from 'node:net';
import type { Listen } from '../../../platform/sockets/index.ts';
import { readAccepted } from '../accepted-socket.ts';
import type { RouteSnapshot } from '../data-plane.ts';
import { Http1ClientConnection } from '../http1/client-connection.ts';
import { listenOn, portOf } from '../listening.ts';
import type { DataPlaneDeps, Plane } from '../plane.ts';
import { TlsConnection } from '../transparent/tls-connection.ts';
import { ForeignHosts } from './foreign-hosts.ts';
import { ForeignReception } from './foreign-reception.ts';
import { type AskName, NameResolver } from './name-resolver.ts';

/** Where requests for any host come in. Plain data: it is handed to other processes. */
export interface ForeignEntrances {
  readonly forwardProxy?: Listen | undefined;
  readonly transparent?: Listen | undefined;
  /** TLS that is passed on untouched. */
  readonly transparentTls?: Listen | undefined;
}

/** Keeps the connections of all entrances. */
export interface ConnectionKeeper {
  take(connection: Http1ClientConnection | TlsConnection): void;
  onClosed(connection: Http1ClientConnection | TlsConnection): void;
}

/** The entrances for requests that are not for a site of this gateway. */
export class ForeignFront {
  readonly #plane: Plane;
  readonly #keeper: ConnectionKeeper;
  readonly #forward: ForeignHosts;
  readonly #transparent: ForeignHosts;
  readonly #servers: Partial<Record<keyof ForeignEntrances, Server>> = {};

  constructor(
    deps: Pick<DataPlaneDeps, 'clock' | 'random'>,
    plane: Plane,
    keeper: ConnectionKeeper,
    askName?: AskName,
  ) {
    this.#plane = plane;
    this.#keeper = keeper;
    const resolver = new NameResolver(deps.clock, askName);
    this.#forward = new ForeignHosts(deps, resolver, '(forward)');
    this.#transparent = new ForeignHosts(deps, resolver, '(transparent)');
  }

  /** @throws `port_taken`, `cannot_listen` */
  async listen(entrances: ForeignEntrances, sharesPorts: boolean): Promise<void> {
    const forward = new ForeignReception(this.#plane, this.#forward, 'forward');
    const transparent = new ForeignReception(this.#plane, this.#transparent, 'transparent');
    const accepts = {
      forwardProxy: (socket: Socket) => this.#acceptHttp(socket, forward),
      transparent: (socket: Socket) => this.#acceptHttp(socket, transparent),
      transparentTls: (socket: Socket) => this.#acceptTls(socket, transparent),
    } as const;
    for (const name of ['forwardProxy', 'transparent', 'transparentTls'] as const) {
      const listen = entrances[name];
      if (!listen) continue;
      // One direction of a tunnel may end before the other.
      const server = createServer(
        { noDelay: true, pauseOnConnect: true, allowHalfOpen: true },
        accepts[name],
      );
      this.#servers[name] = server;
      await listenOn(server, listen, sharesPorts, this.#plane.log);
    }
  }

  /** The port in use; 0 when there is none. */
  portOf(name: keyof ForeignEntrances): number {
    return portOf(this.#servers[name]);
  }

  apply(snapshot: RouteSnapshot): void {
    this.#forward.apply(snapshot, snapshot.forwardProxy);
    this.#transparent.apply(snapshot, snapshot.transparent);
  }

  /** Takes no new connection. */
  stop(): void {
    for (const server of Object.values(this.#servers)) if (server.listening) server.close();
  }

  #acceptHttp(accepted: Socket, reception: ForeignReception): void {
    const socket = readAccepted(accepted, (octets) => connection.onOctets(octets));
    const connection: Http1ClientConnection = new Http1ClientConnection(
      reception,
      socket,
      this.#keeper,
      'http',
    );
    this.#keeper.take(connection);
  }

  #acceptTls(accepted: Socket, reception: ForeignReception): void {
    const socket = readAccepted(accepted, (octets) => connection.onOctets(octets));
    const connection: TlsConnection = new TlsConnection(reception, socket, this.#keeper);
    this.#keeper.take(connection);
  }
}
