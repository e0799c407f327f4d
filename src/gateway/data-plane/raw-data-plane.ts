import { createServer, type Server, type Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Closable } from '../../base/index.ts';
import type { Listen } from '../../platform/sockets/index.ts';
import { readAccepted, readEvents } from './accepted-socket.ts';
import { AccessLog, type AccessLogOptions } from './access-log.ts';
import type { DataPlane, RouteSnapshot } from './data-plane.ts';
import { type ForeignEntrances, ForeignFront } from './forward/foreign-front.ts';
import { Http1ClientConnection } from './http1/client-connection.ts';
import { Http2ClientConnection } from './http2/client-connection.ts';
import { listenOn, portOf } from './listening.ts';
import { type DataPlaneDeps, Plane } from './plane.ts';
import { TlsFront } from './tls/tls-front.ts';
import type { TlsConnection } from './transparent/tls-connection.ts';
import type { VmUse } from './vm-uses.ts';

/** How often is looked for what takes too long. */
const SWEEP_MS = 500;
const DRAIN_TIMEOUT_MS = 10_000;
const CONNECTION_LIMIT = 20_000;

/** What a data plane does beside plain HTTP. Plain data: it is handed to other processes. */
export interface RawDataPlaneOptions {
  /** Several processes listen on the same ports, and the kernel spreads the connections over them. */
  readonly sharesPorts?: boolean;
  /** Where clients come by HTTPS; its certificates stand in the snapshot. */
  readonly https?: Listen | undefined;
  /** Where requests for hosts come in that are no sites of this gateway; which may be asked says the snapshot. */
  readonly foreign?: ForeignEntrances | undefined;
  readonly accessLog?: AccessLogOptions | undefined;
}

type Connection = Http1ClientConnection | Http2ClientConnection | TlsConnection;

/** The data plane: HTTP straight from the sockets, in this process. */
export class RawDataPlane implements DataPlane, Closable {
  readonly #plane: Plane;
  readonly #server: Server;
  readonly #tls: TlsFront;
  readonly #foreign: ForeignFront;
  readonly #connections = new Set<Connection>();
  /** Those who came before it was known where requests go; to tell them that there is no such site would be wrong. */
  #early: Socket[] | undefined = [];
  #onEmpty: (() => void) | undefined;
  #timer: Disposable | undefined;
  #closing: Promise<void> | undefined;

  private constructor(deps: DataPlaneDeps) {
    this.#plane = new Plane(deps);
    this.#tls = new TlsFront(deps.log, this, CONNECTION_LIMIT);
    this.#foreign = new ForeignFront(deps, this.#plane, this, deps.askName);
    this.#server = createServer({ noDelay: true, pauseOnConnect: true }, (socket) => this.#accept(socket));
    this.#server.maxConnections = CONNECTION_LIMIT;
  }

  /**
   * @param snapshot with which it begins; without one, clients wait until the first is applied.
   * @throws `port_taken`, `cannot_listen`, `access_log_unusable`
   */
  static async start(
    deps: DataPlaneDeps,
    listen: Listen,
    { sharesPorts = false, https, foreign = {}, accessLog }: RawDataPlaneOptions = {},
    snapshot?: RouteSnapshot,
  ): Promise<RawDataPlane> {
    const plane = new RawDataPlane(deps);
    if (snapshot) plane.apply(snapshot);
    try {
      await listenOn(plane.#server, listen, sharesPorts, deps.log);
      if (https) await plane.#tls.listen(https, sharesPorts);
      await plane.#foreign.listen(foreign, sharesPorts);
      if (accessLog) {
        const { clock, log, observeLogLoss } = deps;
        plane.#plane.accessLog = await AccessLog.open({ clock, log, observeLogLoss }, accessLog);
      }
    } catch (error) {
      await plane.close();
      throw error;
    }
    plane.#sweep();
    return plane;
  }

  get port(): number {
    return portOf(this.#server);
  }

  /** The port for HTTPS in use; 0 when there is none. */
  get httpsPort(): number {
    return this.#tls.port;
  }

  /** The options with which it was started, with the ports that the kernel chose where it was to choose. */
  chosen(listen: Listen, more: RawDataPlaneOptions): { listen: Listen; more: RawDataPlaneOptions } {
    const foreign = Object.entries(more.foreign ?? {}) as [keyof ForeignEntrances, Listen | undefined][];
    return {
      listen: { ...listen, port: this.port },
      more: {
        ...more,
        https: more.https && { ...more.https, port: this.httpsPort },
        foreign:
          more.foreign &&
          Object.fromEntries(
            foreign.map(([name, wanted]) => [name, wanted && { ...wanted, port: this.portOf(name) }]),
          ),
      },
    };
  }

  /** The port of another entrance; 0 when there is none. */
  portOf(entrance: keyof ForeignEntrances): number {
    return this.#foreign.portOf(entrance);
  }

  /** Who used which VM. */
  get vmUses(): readonly (readonly [vm: string, use: VmUse])[] {
    return this.#plane.vmUses.report(this.#plane.clock.monotonicMs());
  }

  apply(snapshot: RouteSnapshot): void {
    this.#plane.apply(snapshot);
    this.#tls.use(snapshot.certificates ?? []);
    this.#foreign.apply(snapshot);
    const early = this.#early ?? [];
    this.#early = undefined;
    for (const socket of early) this.#accept(socket);
  }

  /** Takes no new connection, lets what is under way end for at most 10 s, then ends it. */
  close(): Promise<void> {
    this.#closing ??= this.#drain();
    return this.#closing;
  }

  async #drain(): Promise<void> {
    this.#plane.isClosing = true;
    this.#server.close();
    this.#tls.stop();
    this.#foreign.stop();
    for (const connection of this.#connections) connection.close();
    for (const socket of this.#early ?? []) socket.destroy();
    if (this.#connections.size > 0) {
      await new Promise<void>((resolve) => {
        this.#onEmpty = resolve;
        this.#plane.clock.after(DRAIN_TIMEOUT_MS, () => {
          for (const connection of this.#connections) connection.destroy();
        });
      });
    }
    this.#timer?.[Symbol.dispose]();
    this.#tls.destroy();
    this.#plane.upstreams.close();
    await this.#plane.accessLog?.close();
  }

  #accept(accepted: Socket): void {
    if (this.#early) {
      this.#early.push(accepted);
      return;
    }
    const socket = readAccepted(accepted, (octets) => connection.onOctets(octets));
    const connection: Http1ClientConnection = new Http1ClientConnection(this.#plane, socket, this, 'http');
    this.take(connection);
  }

  onSecure(socket: TLSSocket): void {
    if (socket.alpnProtocol === 'h2') {
      this.take(new Http2ClientConnection(this.#plane, socket, this));
      return;
    }
    const connection = new Http1ClientConnection(this.#plane, socket, this, 'https');
    readEvents(socket, (octets) => connection.onOctets(octets));
    this.take(connection);
  }

  /** Keeps a connection, unless its client, or all of them together, have too many. */
  take(connection: Connection): void {
    const { clients, clock } = this.#plane;
    if (this.#connections.size >= CONNECTION_LIMIT) connection.destroy();
    else if (clients.connect(connection.address, clock.monotonicMs())) this.#connections.add(connection);
    else {
      this.#plane.observeLimit('connections_per_client');
      connection.destroy();
    }
  }

  onClosed(connection: Connection): void {
    if (this.#connections.delete(connection)) this.#plane.clients.disconnect(connection.address);
    if (this.#connections.size === 0) this.#onEmpty?.();
  }

  #sweep(): void {
    this.#timer = this.#plane.clock.after(SWEEP_MS, () => {
      const nowMs = this.#plane.clock.monotonicMs();
      for (const connection of this.#connections) connection.check(nowMs);
      this.#plane.upstreams.sweep(nowMs);
      this.#plane.clients.sweep(nowMs);
      this.#sweep();
    });
  }
}
