import { createServer, type Server, type Socket } from 'node:net';
import type { Closable } from '../../base/index.ts';
import { type Listen, listenError } from '../../platform/sockets/index.ts';
import { readAccepted } from './accepted-socket.ts';
import type { DataPlane, RouteSnapshot } from './data-plane.ts';
import { Http1ClientConnection } from './http1/client-connection.ts';
import { type DataPlaneDeps, Plane } from './plane.ts';

/** How often is looked for what takes too long. */
const SWEEP_MS = 500;
const DRAIN_TIMEOUT_MS = 10_000;
const CONNECTION_LIMIT = 20_000;
const BACKLOG = 1024;

/** What a data plane does beside plain HTTP. Plain data: it is handed to other processes. */
export interface RawDataPlaneOptions {
  /** Several processes listen on the same ports, and the kernel spreads the connections over them. */
  readonly sharesPorts?: boolean;
}

/** The data plane: HTTP straight from the sockets, in this process. */
export class RawDataPlane implements DataPlane, Closable {
  readonly #plane: Plane;
  readonly #server: Server;
  readonly #connections = new Set<Http1ClientConnection>();
  #onEmpty: (() => void) | undefined;
  #timer: Disposable | undefined;
  #closing: Promise<void> | undefined;

  private constructor(deps: DataPlaneDeps) {
    this.#plane = new Plane(deps);
    this.#server = createServer({ noDelay: true, pauseOnConnect: true }, (socket) => this.#accept(socket));
    this.#server.maxConnections = CONNECTION_LIMIT;
  }

  /** @throws `port_taken`, `cannot_listen` */
  static async start(
    deps: DataPlaneDeps,
    listen: Listen,
    { sharesPorts = false }: RawDataPlaneOptions = {},
  ): Promise<RawDataPlane> {
    const plane = new RawDataPlane(deps);
    await new Promise<void>((resolve, reject) => {
      plane.#server.once('error', (error) => reject(listenError(error, listen)));
      plane.#server.listen({ ...listen, backlog: BACKLOG, reusePort: sharesPorts }, resolve);
    });
    plane.#sweep();
    return plane;
  }

  get port(): number {
    const address = this.#server.address();
    return address !== null && typeof address === 'object' ? address.port : 0;
  }

  apply(snapshot: RouteSnapshot): void {
    this.#plane.apply(snapshot);
  }

  /** Takes no new connection, lets what is under way end for at most 10 s, then ends it. */
  close(): Promise<void> {
    this.#closing ??= this.#drain();
    return this.#closing;
  }

  async #drain(): Promise<void> {
    this.#plane.isClosing = true;
    this.#server.close();
    for (const connection of this.#connections) connection.close();
    if (this.#connections.size > 0) {
      await new Promise<void>((resolve) => {
        this.#onEmpty = resolve;
        this.#plane.clock.after(DRAIN_TIMEOUT_MS, () => {
          for (const connection of this.#connections) connection.destroy();
        });
      });
    }
    this.#timer?.[Symbol.dispose]();
    this.#plane.upstreams.close();
  }

  #accept(accepted: Socket): void {
    let connection: Http1ClientConnection;
    const socket = readAccepted(accepted, (octets) => connection.onOctets(octets));
    connection = new Http1ClientConnection(this.#plane, socket, this, 'http');
    this.#connections.add(connection);
  }

  onClosed(connection: Http1ClientConnection): void {
    this.#connections.delete(connection);
    if (this.#connections.size === 0) this.#onEmpty?.();
  }

  #sweep(): void {
    this.#timer = this.#plane.clock.after(SWEEP_MS, () => {
      const nowMs = this.#plane.clock.monotonicMs();
      for (const connection of this.#connections) connection.check(nowMs);
      this.#plane.upstreams.sweep(nowMs);
      this.#sweep();
    });
  }
}
