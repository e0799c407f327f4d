import type { Clock, Random } from '../../base/index.ts';
import type { Log } from '../../platform/telemetry/index.ts';
import type { ClientRequest, ClientStream } from './client.ts';
import { EMPTY_SNAPSHOT, type Exchange, type RouteSnapshot } from './data-plane.ts';
import { type LiveRoute, liveRoute, type OriginLoad } from './live-route.ts';
import { parseTarget, type Target } from './target.ts';
import { Upstreams } from './upstreams.ts';
import { Visit } from './visit.ts';

export interface DataPlaneDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Omit<Log, 'child'>;
  /** Told once about every request when it is over. */
  readonly observe: (exchange: Exchange) => void;
}

/** Requests of one origin that are under way at a time; those beyond are told to come back. */
const REQUESTS_PER_ORIGIN = 4096;

/** What all connections of a data plane share: the routes, the servers behind them, and who is told of what passed. */
export class Plane {
  readonly clock: Clock;
  readonly log: Omit<Log, 'child'>;
  readonly upstreams: Upstreams;
  readonly #deps: DataPlaneDeps;
  readonly #loads = new Map<string, OriginLoad>();
  #routes: ReadonlyMap<string, LiveRoute> = new Map();
  #turn = 0;
  snapshot: RouteSnapshot = EMPTY_SNAPSHOT;
  /** No connection is kept for another request. */
  isClosing = false;

  constructor(deps: DataPlaneDeps) {
    this.#deps = deps;
    this.clock = deps.clock;
    this.log = deps.log;
    this.upstreams = new Upstreams(deps.clock);
  }

  apply(snapshot: RouteSnapshot): void {
    this.snapshot = snapshot;
    this.#routes = new Map(
      Array.from(snapshot.routes, ([host, route]) => [
        host,
        liveRoute(this.#deps, route, snapshot.tag, this.#loadOf(route.origin)),
      ]),
    );
  }

  /** Counts requests, so that the VMs of an origin take them in turn. */
  nextTurn(): number {
    this.#turn = (this.#turn + 1) >>> 0;
    return this.#turn;
  }

  /** Begins to serve a request. `undefined` when it was refused: the answer has been written then. */
  receive(client: ClientStream, request: ClientRequest): Visit | undefined {
    const target = this.#targetOf(request);
    if (!target) {
      this.#refuseUnknown(
        client,
        request,
        400,
        'the request names no host, or not in a way that this gateway understands',
      );
      return undefined;
    }
    const route = this.#routes.get(target.hostName);
    if (!route) {
      this.#refuseUnknown(client, request, 404, `no site named ${target.hostName} is served here`);
      return undefined;
    }
    if (route.load.active >= REQUESTS_PER_ORIGIN) {
      this.#refuseUnknown(
        client,
        request,
        503,
        `${route.origin} has too many requests under way`,
        route.origin,
      );
      return undefined;
    }
    return new Visit(this, client, request, route, target);
  }

  /** Most requests name a site just as its route does. */
  #targetOf({ target, host, method }: ClientRequest): Target | undefined {
    if (method === 'CONNECT') return undefined;
    if (host !== undefined && this.#routes.has(host) && target.startsWith('/')) {
      return { hostName: host, host, path: target };
    }
    if (target === '*' && method !== 'OPTIONS') return undefined;
    return parseTarget(target, host);
  }

  observe(exchange: Exchange): void {
    this.#deps.observe(exchange);
  }

  /** An answer of the gateway's own. */
  refuse(client: ClientStream, method: string, status: number, message: string): void {
    const body = Buffer.from(`${message}\n`);
    client.begin({
      status,
      reason: REASONS[status] ?? '',
      kept: `Content-Type: text/plain; charset=utf-8\r\n${status === 503 ? 'Retry-After: 1\r\n' : ''}`,
      bodyLength: body.length,
      hasBody: method !== 'HEAD',
      servedBy: this.snapshot.showServedBy ? 'gateway' : undefined,
      isLast: status === 400,
    });
    if (method !== 'HEAD') client.data(body);
    client.end('');
  }

  /** A request that was no HTTP, and belongs to nobody. */
  observeRefusal(status: number, failure: string): void {
    const nothing = { originBytes: 0, vmBytes: 0, wasReplayed: false };
    this.observe({ origin: '', servedBy: 'gateway', status, ...nothing, failure });
  }

  #refuseUnknown(
    client: ClientStream,
    { method }: ClientRequest,
    status: number,
    message: string,
    origin = '',
  ): void {
    this.refuse(client, method, status, message);
    this.observe({ origin, servedBy: 'gateway', status, originBytes: 0, vmBytes: 0, wasReplayed: false });
  }

  #loadOf(origin: string): OriginLoad {
    const known = this.#loads.get(origin);
    if (known) return known;
    const load = { active: 0 };
    this.#loads.set(origin, load);
    return load;
  }
}

const REASONS: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  404: 'Not Found',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
};
