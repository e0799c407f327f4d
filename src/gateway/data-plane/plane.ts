import type { Clock, Random } from '../../base/index.ts';
import type { Log } from '../../platform/telemetry/index.ts';
import type { AccessLog } from './access-log.ts';
import type { Passage } from './access-log-line.ts';
import type { ClientRequest, ClientStream } from './client.ts';
import { EMPTY_SNAPSHOT, type Exchange, type RouteSnapshot } from './data-plane.ts';
import type { AskName } from './forward/name-resolver.ts';
import { DEFAULT_LIMITS, type LimitName } from './limits.ts';
import { ClientTable } from './limits-client-table.ts';
import { type LiveRoute, liveRoute, type OriginLoad } from './live-route.ts';
import type { Reception } from './reception.ts';
import { parseTarget, type Target } from './target.ts';
import { Upstreams } from './upstreams.ts';
import { Visit } from './visit.ts';
import type { VisitHost } from './visit-host.ts';
import { VmUses } from './vm-uses.ts';
import { Waking } from './waking.ts';

export interface DataPlaneDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Omit<Log, 'child'>;
  /** Told once about every request when it is over. */
  readonly observe: (exchange: Exchange) => void;
  /** Told how many lines the access log has lost. */
  readonly observeLogLoss?: ((lines: number) => void) | undefined;
  /** Asks for a VM that sleeps; false when nobody is there who could wake it. Absent where no VM sleeps. */
  readonly wake?: ((vm: string) => boolean) | undefined;
  /** Resolves names of hosts that are no sites of this gateway; the machine's name servers when absent. */
  readonly askName?: AskName | undefined;
}

/** What all connections of a data plane share: the routes, the servers behind them, and who is told of what passed. */
export class Plane implements Reception, VisitHost {
  readonly clock: Clock;
  readonly log: Omit<Log, 'child'>;
  readonly upstreams: Upstreams;
  readonly clients = new ClientTable();
  readonly vmUses = new VmUses();
  readonly waking: Waking;
  readonly #deps: DataPlaneDeps;
  readonly #loads = new Map<string, OriginLoad>();
  #routes: ReadonlyMap<string, LiveRoute> = new Map();
  #turn = 0;
  snapshot: RouteSnapshot = EMPTY_SNAPSHOT;
  /** No connection is kept for another request. */
  isClosing = false;
  accessLog: AccessLog | undefined;

  constructor(deps: DataPlaneDeps) {
    this.#deps = deps;
    this.clock = deps.clock;
    this.log = deps.log;
    this.upstreams = new Upstreams(deps.clock);
    this.waking = new Waking(deps.clock, (vm) => deps.wake?.(vm) ?? false);
  }

  apply(snapshot: RouteSnapshot): void {
    this.snapshot = snapshot;
    this.clients.limits = snapshot.limits ?? DEFAULT_LIMITS;
    void this.accessLog?.checkFile();
    this.#routes = new Map(
      Array.from(snapshot.routes, ([host, route]) => [
        host,
        liveRoute(this.#deps, route, snapshot.tag, this.#loadOf(route.origin)),
      ]),
    );
    const ready = new Set(
      Array.from(snapshot.routes.values(), ({ vms }) => vms.map(({ name }) => name)).flat(),
    );
    this.vmUses.keep((vm) => ready.has(vm));
    this.waking.look((host) => this.#routes.get(host));
  }

  /** Counts requests, so that the VMs of an origin take them in turn. */
  nextTurn(): number {
    this.#turn = (this.#turn + 1) >>> 0;
    return this.#turn;
  }

  /** Begins to serve a request. `undefined` when it was refused: the answer has been written then. */
  receive(client: ClientStream, request: ClientRequest): Visit | undefined {
    if (!this.admits(client, request)) return undefined;
    const target = this.#targetOf(request);
    if (!target) return this.turnAway(client, request, 400, NO_HOST);
    const route = this.#routes.get(target.hostName);
    if (!route) {
      return this.turnAway(client, request, 404, `no site named ${target.hostName} is served here`);
    }
    return this.visit(client, request, route, target);
  }

  /** Whether the client may send a request now. When not, the answer has been written. */
  admits(client: ClientStream, request: ClientRequest): boolean {
    if (this.clients.request(client.address, this.clock.monotonicMs())) return true;
    this.turnAway(client, request, 429, 'too many requests', { limit: 'requests_per_second_per_client' });
    return false;
  }

  /** The way to a site of this gateway. */
  routeOf(hostName: string): LiveRoute | undefined {
    return this.#routes.get(hostName);
  }

  /** Begins to serve a request by a route, unless that one has too many. */
  visit(client: ClientStream, request: ClientRequest, route: LiveRoute, target: Target): Visit | undefined {
    if (route.load.active < this.clients.limits.requestsPerOrigin) {
      return new Visit(this, client, request, route, target);
    }
    const { origin } = route;
    const who = route.isForeign ? target.hostName : origin;
    return this.turnAway(client, request, 503, `${who} has too many requests under way`, {
      origin,
      limit: 'requests_per_origin',
    });
  }

  /** Most requests name a site just as its route does. */
  #targetOf({ target, host, method }: ClientRequest): Target | undefined {
    if (method === 'CONNECT') return undefined;
    if (host !== undefined && this.#routes.has(host) && target.startsWith('/')) {
      return { hostName: host, host, path: target };
    }
    if (target === '*' && method !== 'OPTIONS') return undefined;
    return parseTarget(target, host, method);
  }

  get headTimeoutMs(): number {
    return this.clients.limits.headTimeoutMs;
  }

  observe(exchange: Exchange, passage?: Passage): void {
    this.#deps.observe(exchange);
    if (passage) this.accessLog?.add(exchange, passage);
  }

  /** An answer of the gateway's own. */
  refuse(client: ClientStream, method: string, status: number, message: string): void {
    const body = Buffer.from(`${message}\n`);
    const head = {
      status,
      reason: REASONS[status] ?? '',
      kept: `Content-Type: text/plain; charset=utf-8\r\n${status === 503 || status === 429 ? 'Retry-After: 1\r\n' : ''}`,
      bodyLength: body.length,
      hasBody: method !== 'HEAD',
      // Behind a CONNECT there may be octets of another protocol already.
      isLast: status === 400 || method === 'CONNECT',
    };
    client.begin(head, this.snapshot.showServedBy ? 'gateway' : undefined);
    if (method !== 'HEAD') client.data(body);
    client.end('');
  }

  /** A request that was no HTTP, and belongs to nobody. */
  observeRefusal(status: number, failure: string, client?: ClientStream): void {
    const request = { method: '-', target: '-', host: undefined, kept: '' };
    this.#observeOwn(status, client && { client, request, sentBytes: failure.length + 1 }, { failure });
  }

  /** A connection that was not taken. */
  observeLimit(limit: LimitName): void {
    this.#observeOwn(429, undefined, { limit });
  }

  /** Answers a request that is not served. */
  turnAway(
    client: ClientStream,
    request: ClientRequest,
    status: number,
    message: string,
    why: { readonly origin?: string; readonly limit?: LimitName } = {},
  ): undefined {
    this.refuse(client, request.method, status, message);
    const sentBytes = request.method === 'HEAD' ? 0 : message.length + 1;
    this.#observeOwn(status, { client, request, sentBytes }, why);
  }

  #observeOwn(
    status: number,
    passage: Pick<Passage, 'client' | 'request' | 'sentBytes'> | undefined,
    why: Partial<Pick<Exchange, 'origin' | 'limit' | 'failure'>>,
  ): void {
    const nothing = { origin: '', originBytes: 0, vmBytes: 0, wasReplayed: false };
    const exchange: Exchange = { ...nothing, servedBy: 'gateway', status, ...why };
    this.observe(exchange, this.accessLog && passage && { ...passage, durationMs: 0, vm: undefined });
  }

  #loadOf(origin: string): OriginLoad {
    const known = this.#loads.get(origin);
    if (known) return known;
    const load = { active: 0 };
    this.#loads.set(origin, load);
    return load;
  }
}

const NO_HOST = 'the request names no host, or not in a way that this gateway understands';

const REASONS: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  403: 'Forbidden',
  404: 'Not Found',
  429: 'Too Many Requests',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
  508: 'Loop Detected',
};
