import type { Clock } from '../../../base/index.ts';
import type { ClientRequest, ClientStream } from '../client.ts';
import type { Plane } from '../plane.ts';
import type { Reception } from '../reception.ts';
import { parseTarget, type Target } from '../target.ts';
import type { Visit } from '../visit.ts';
import type { ForeignHosts } from './foreign-hosts.ts';

/**
 * How requests come in. `forward`: from clients that are set up to send all requests here, with whole URLs and CONNECT.
 * `transparent`: from clients that know nothing of it; the network behind the gateway leads them here.
 */
export type ForeignKind = 'forward' | 'transparent';

/**
 * Takes requests for any host: those for a site of this gateway are served as ever, the others go to the host that they name, if
 * that is allowed.
 */
export class ForeignReception implements Reception {
  readonly #plane: Plane;
  readonly #hosts: ForeignHosts;
  readonly #kind: ForeignKind;

  constructor(plane: Plane, hosts: ForeignHosts, kind: ForeignKind) {
    this.#plane = plane;
    this.#hosts = hosts;
    this.#kind = kind;
  }

  get clock(): Clock {
    return this.#plane.clock;
  }

  get isClosing(): boolean {
    return this.#plane.isClosing;
  }

  get headTimeoutMs(): number {
    return this.#plane.headTimeoutMs;
  }

  observeRefusal(status: number, failure: string, client?: ClientStream): void {
    this.#plane.observeRefusal(status, failure, client);
  }

  receive(client: ClientStream, request: ClientRequest): Visit | undefined {
    const plane = this.#plane;
    if (!this.#admits(client, request)) return undefined;
    if (request.method === 'CONNECT') {
      return this.#kind === 'forward'
        ? this.#connect(client, request)
        : plane.turnAway(client, request, 400, 'CONNECT is for a forward proxy');
    }
    const { target: asked } = request;
    const target = parseTarget(asked, request.host, request.method);
    if (!target) return plane.turnAway(client, request, 400, 'the request names no host');
    const own = plane.routeOf(target.hostName);
    if (own) return plane.visit(client, request, own, target);
    const isForProxy = !asked.startsWith('/') && asked !== '*';
    if (!isForProxy && (this.#kind === 'forward' || asked === '*')) {
      return plane.turnAway(client, request, 400, 'this is a proxy: the request has to name a whole URL');
    }
    if (/^https:/i.test(asked)) {
      return plane.turnAway(client, request, 400, 'what is https is asked for with CONNECT');
    }
    if (request.kept.includes(this.#hosts.pseudonym)) {
      return plane.turnAway(client, request, 508, `${target.hostName} leads back to this gateway`);
    }
    return this.#visitForeign(client, request, target, 80, false);
  }

  /** Octets to and from a host, as they are. `undefined` when it is refused: the client has been told. */
  passOn(client: ClientStream, request: ClientRequest, target: Target): Visit | undefined {
    if (!this.#admits(client, request)) return undefined;
    return this.#visitForeign(client, request, target, 443, true);
  }

  #admits(client: ClientStream, request: ClientRequest): boolean {
    if (!this.#plane.admits(client, request)) return false;
    if (this.#hosts.admits(client.address)) return true;
    this.#plane.turnAway(client, request, 403, 'this proxy is not for your address');
    return false;
  }

  #connect(client: ClientStream, request: ClientRequest): Visit | undefined {
    const target = parseTarget('/', request.target);
    if (!target || !/:\d+$/.test(request.target) || request.bodyLength !== 0) {
      return this.#plane.turnAway(client, request, 400, 'CONNECT names a host and a port, and has no body');
    }
    return this.#visitForeign(client, request, target, 443, true);
  }

  #visitForeign(
    client: ClientStream,
    request: ClientRequest,
    target: Target,
    defaultPort: number,
    isTunnel: boolean,
  ): Visit | undefined {
    const port = Number(/:(\d+)$/.exec(target.host)?.[1] ?? defaultPort);
    const isPort = port >= 1 && port <= 65_535;
    const route = isPort && this.#hosts.routeTo({ hostName: target.hostName, port, defaultPort }, isTunnel);
    if (!route) {
      return this.#plane.turnAway(client, request, 403, `${target.host} is not on the list of this proxy`);
    }
    return this.#plane.visit(client, request, route, target);
  }
}
