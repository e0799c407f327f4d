import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { type Clock, messageOf, type Random } from '../../base/index.ts';
import { type Listen, listenError } from '../../platform/sockets/index.ts';
import type { Log } from '../../platform/telemetry/index.ts';
import { tagFields } from '../tag.ts';
import {
  type DataPlane,
  EMPTY_SNAPSHOT,
  type Exchange,
  type Route,
  type RouteSnapshot,
  type ServedBy,
  type VmUpstream,
} from './data-plane.ts';
import { clientHeaders, upstreamHeaders } from './headers.ts';
import { type HeldAnswer, hold } from './held-answer.ts';
import { pump } from './pump.ts';
import { RequestBody } from './request-body.ts';
import { chooseVm, mayReplay, parseTarget, type Target, withoutDefaultPort } from './target.ts';
import { type NoAnswer, UpstreamClient } from './upstream-client.ts';
import { isWebSocket, relayWebSocket, type WebSocketVisit } from './web-socket.ts';

const ORIGIN_FIRST_BYTE_TIMEOUT_MS = 60_000;
/** A VM that is slower than this is passed over: the origin can still answer. */
const VM_FIRST_BYTE_TIMEOUT_MS = 10_000;
/** One server twice (its kept connection was stale), then another. */
const ATTEMPT_LIMIT = 3;
const DRAIN_TIMEOUT_MS = 10_000;

export interface DataPlaneDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Told once about every request when it is over. */
  readonly observe: (exchange: Exchange) => void;
}

/** A request, and what it asks for. */
interface Asked {
  readonly request: IncomingMessage;
  readonly route: Route;
  readonly target: Target;
  readonly snapshot: RouteSnapshot;
}

/** One request on its way. */
interface Visit extends Asked {
  readonly response: ServerResponse;
  readonly body: RequestBody;
  readonly startMs: number;
  originBytes: number;
  vmBytes: number;
  wasReplayed: boolean;
}

/** The data plane on `node:http`: strict parsing by Node, one process, streamed bodies. */
export class NodeHttpDataPlane implements DataPlane {
  readonly #deps: DataPlaneDeps;
  readonly #server: Server;
  readonly #client: UpstreamClient;
  #snapshot: RouteSnapshot = EMPTY_SNAPSHOT;
  #turn = 0;
  readonly #webSockets = new Set<Duplex>();
  #closing: Promise<void> | undefined;

  private constructor(deps: DataPlaneDeps) {
    this.#deps = deps;
    this.#client = new UpstreamClient(deps.clock);
    this.#server = createServer(
      {
        maxHeaderSize: 16 * 1024,
        headersTimeout: 15_000,
        // A whole request may be an upload of any length; silence on a connection is bounded by `timeout` below.
        requestTimeout: 0,
        keepAliveTimeout: 60_000,
        insecureHTTPParser: false,
        shouldUpgradeCallback: isWebSocket,
      },
      (request, response) => void this.#serve(request, response),
    );
    this.#server.on('upgrade', (request, socket, sent) => void this.#upgrade({ request, socket, sent }));
    this.#server.timeout = 120_000;
    this.#server.maxConnections = 20_000;
  }

  /** @throws `port_taken`, `cannot_listen` */
  static async start(deps: DataPlaneDeps, listen: Listen): Promise<NodeHttpDataPlane> {
    const plane = new NodeHttpDataPlane(deps);
    await new Promise<void>((resolve, reject) => {
      plane.#server.once('error', (error) => reject(listenError(error, listen)));
      plane.#server.listen(listen, resolve);
    });
    return plane;
  }

  get port(): number {
    const address = this.#server.address();
    return address !== null && typeof address === 'object' ? address.port : 0;
  }

  apply(snapshot: RouteSnapshot): void {
    this.#snapshot = snapshot;
  }

  /** Takes no new connection, lets what is under way end for at most 10 s, then ends it. */
  close(): Promise<void> {
    this.#closing ??= new Promise<void>((resolve) => {
      const timer = this.#deps.clock.after(DRAIN_TIMEOUT_MS, () => this.#server.closeAllConnections());
      this.#server.close(() => {
        timer[Symbol.dispose]();
        this.#client.close();
        resolve();
      });
      this.#server.closeIdleConnections();
      // They may last for days, and their clients know how to come back.
      for (const socket of this.#webSockets) socket.destroy();
    });
    return this.#closing;
  }

  /** A WebSocket, to a VM or, when that does not answer, to the origin. */
  async #upgrade(visit: WebSocketVisit): Promise<void> {
    const { request, socket } = visit;
    const snapshot = this.#snapshot;
    socket.on('error', () => undefined);
    const target = parseTarget(request.url ?? '', request.headers.host);
    const route = target && snapshot.routes.get(target.hostName);
    const hangUp = (status: string) => socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\n\r\n`);
    if (!target || !route || this.#closing) {
      hangUp(this.#closing ? '503 Service Unavailable' : target ? '404 Not Found' : '400 Bad Request');
      return;
    }
    this.#webSockets.add(socket);
    socket.once('close', () => this.#webSockets.delete(socket));
    this.#turn = (this.#turn + 1) >>> 0;
    const vm = chooseVm(route, 'GET', target.path, this.#turn);
    for (const upstream of vm ? [vm, undefined] : [undefined]) {
      const servedBy = upstream ? `vm/${upstream.name}` : 'origin';
      const headers = this.#headersFor({ request, route, target, snapshot }, upstream);
      const outcome = await relayWebSocket(
        this.#deps.clock,
        upstream ?? route.upstream,
        { path: target.path, headers },
        visit,
        snapshot.showServedBy ? servedBy : undefined,
      );
      if (socket.destroyed && outcome.kind === 'none') return;
      if (outcome.kind === 'none') continue;
      const { status, firstByteMs, bytes } = outcome;
      this.#deps.observe({
        origin: route.origin,
        servedBy: upstream ? 'vm' : 'origin',
        status,
        firstByteMs,
        originBytes: upstream ? 0 : bytes,
        vmBytes: upstream ? bytes : 0,
        wasReplayed: vm !== undefined && !upstream,
      });
      return;
    }
    hangUp('502 Bad Gateway');
    const nothing = { originBytes: 0, vmBytes: 0, wasReplayed: vm !== undefined };
    this.#deps.observe({ origin: route.origin, servedBy: 'gateway', status: 502, ...nothing });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // One snapshot from beginning to end, whatever is applied meanwhile.
    const snapshot = this.#snapshot;
    if (this.#closing) response.shouldKeepAlive = false;
    const target = parseTarget(request.url ?? '', request.headers.host);
    if (!target) {
      this.#refuseUnknown(
        response,
        400,
        'the request names no host, or not in a way that this gateway understands',
      );
      return;
    }
    const route = snapshot.routes.get(target.hostName);
    if (!route) {
      this.#refuseUnknown(response, 404, `no site named ${target.hostName} is served here`);
      return;
    }
    try {
      const visit: Visit = {
        request,
        response,
        route,
        target,
        snapshot,
        body: await RequestBody.of(request),
        startMs: this.#deps.clock.monotonicMs(),
        originBytes: 0,
        vmBytes: 0,
        wasReplayed: false,
      };
      await this.#forward(visit);
    } catch (error) {
      // The client broke off while its body was read: there is nobody to answer.
      this.#deps.log.debug({ err: error, host: target.hostName }, 'client broke off');
      response.destroy();
    }
  }

  /** Asks a VM or the origin, and the other one while the request may be sent again. */
  async #forward(visit: Visit): Promise<void> {
    this.#turn = (this.#turn + 1) >>> 0;
    const { method = '' } = visit.request;
    let vm = chooseVm(visit.route, method, visit.target.path, this.#turn);
    let failure: NoAnswer['reason'] = 'refused';
    for (let attempt = 1; attempt <= ATTEMPT_LIMIT; attempt += 1) {
      const outcome = await this.#ask(visit, vm);
      if (outcome.kind === 'held') {
        await this.#deliver(visit, vm, outcome);
        return;
      }
      if (isGone(visit)) break;
      failure = outcome.reason;
      if (!mayReplay(method, outcome.wasSent, visit.body.isWhole)) break;
      if (outcome.wasStale) continue;
      if (!vm) break;
      vm = undefined;
      visit.wasReplayed = true;
    }
    this.#giveUp(visit, vm, failure);
  }

  async #ask(
    visit: Visit,
    vm: VmUpstream | undefined,
  ): Promise<(HeldAnswer & { readonly kind: 'held' }) | NoAnswer> {
    const { request, response, route, target, body } = visit;
    const outcome = await this.#client.ask(vm ?? route.upstream, {
      method: request.method ?? 'GET',
      path: target.path,
      headers: [...this.#headersFor(visit, vm), ...body.framing()],
      body,
      firstByteTimeoutMs: vm ? VM_FIRST_BYTE_TIMEOUT_MS : ORIGIN_FIRST_BYTE_TIMEOUT_MS,
      client: response,
    });
    if (outcome.kind === 'none') {
      count(visit, vm, outcome.bytes);
      return outcome;
    }
    // The origin is the last resort: what it says is sent as it comes.
    if (!vm) return { kind: 'held', answer: outcome, held: [], isComplete: false };
    const isAlive = () => this.#client.accepts(vm);
    const held = await hold({ clock: this.#deps.clock, isAlive }, outcome, request.method);
    if (held) return { kind: 'held', ...held };
    count(visit, vm, outcome.bytes());
    return { kind: 'none', reason: 'broken', wasSent: true, wasStale: false, bytes: outcome.bytes() };
  }

  #headersFor(visit: Asked, vm: VmUpstream | undefined): string[] {
    const { request, route, target } = visit;
    const upstreamHost = route.originHost ?? target.host;
    return upstreamHeaders(request.rawHeaders, {
      clientAddress: request.socket.remoteAddress ?? '',
      host: target.host,
      upstreamHost,
      tagFields: vm ? [] : this.#tagFields(visit, upstreamHost),
    });
  }

  #tagFields({ request, route, target, snapshot }: Asked, upstreamHost: string): string[] {
    const { clock, random } = this.#deps;
    const query = target.path.indexOf('?');
    return tagFields(
      snapshot.tag,
      {
        method: request.method ?? 'GET',
        authority: withoutDefaultPort(upstreamHost, route.upstream.isTls),
        path: query < 0 ? target.path : target.path.slice(0, query),
      },
      route.signingKey && {
        key: route.signingKey,
        moment: {
          nowS: Math.floor(clock.nowMs() / 1000),
          nonce: Buffer.from(random.bytes(16)).toString('base64url'),
        },
      },
    );
  }

  async #deliver(
    visit: Visit,
    vm: VmUpstream | undefined,
    { answer, held, isComplete, endedWell }: HeldAnswer,
  ): Promise<void> {
    const { response, snapshot } = visit;
    const { message } = answer;
    const firstByteMs = this.#deps.clock.monotonicMs() - visit.startMs;
    const servedBy = vm ? `vm/${vm.name}` : 'origin';
    let failure: string | undefined;
    try {
      response.writeHead(
        message.statusCode ?? 502,
        message.statusMessage,
        clientHeaders(message.rawHeaders, snapshot.showServedBy ? servedBy : undefined),
      );
      for (const chunk of held) response.write(chunk);
      if (isComplete) {
        response.end();
        // Nothing is left in it but its end, which frees the connection for the next request.
        message.resume();
      } else if (endedWell) {
        await pump(message, response, true);
        if (!(await endedWell())) throw new Error('the VM ended in the middle of its answer');
        response.end();
      } else await pump(message, response);
    } catch (error) {
      failure = isGone(visit) ? 'client broke off' : messageOf(error);
      // An answer that ends too early must look so: the connection breaks instead of ending well.
      response.destroy();
      message.destroy();
    }
    count(visit, vm, answer.bytes());
    this.#report(visit, vm ? 'vm' : 'origin', response.statusCode, { firstByteMs, failure });
  }

  #giveUp(visit: Visit, vm: VmUpstream | undefined, failure: NoAnswer['reason']): void {
    const { response, route } = visit;
    if (isGone(visit)) {
      this.#report(visit, vm ? 'vm' : 'origin', 499, { failure: 'client broke off' });
      return;
    }
    const who = vm ? `the VM ${vm.name}` : `the origin ${route.origin}`;
    const what = {
      refused: 'cannot be reached',
      timeout: 'did not answer in time',
      broken: 'broke off before it answered',
    }[failure];
    const status = failure === 'timeout' ? 504 : 502;
    this.#deps.log.warn({ origin: route.origin, vm: vm?.name, failure }, 'no answer from upstream');
    refuse(response, status, `${who} ${what}`, visit.snapshot.showServedBy);
    this.#report(visit, 'gateway', status, { failure: `${who} ${what}` });
  }

  /** For a request that belongs to no origin. */
  #refuseUnknown(response: ServerResponse, status: number, message: string): void {
    refuse(response, status, message, this.#snapshot.showServedBy);
    const nothing = { originBytes: 0, vmBytes: 0, wasReplayed: false };
    this.#deps.observe({ origin: '', servedBy: 'gateway', status, ...nothing });
  }

  #report(
    visit: Visit,
    servedBy: ServedBy,
    status: number,
    rest: { firstByteMs?: number; failure?: string | undefined },
  ): void {
    const { originBytes, vmBytes, wasReplayed } = visit;
    this.#deps.observe({
      origin: visit.route.origin,
      servedBy,
      status,
      originBytes,
      vmBytes,
      wasReplayed,
      ...rest,
    });
  }
}

/** The client went away before it had its answer. */
const isGone = ({ response }: Visit): boolean => response.closed && !response.writableFinished;

function count(visit: Visit, vm: VmUpstream | undefined, bytes: number): void {
  if (vm) visit.vmBytes += bytes;
  else visit.originBytes += bytes;
}

function refuse(response: ServerResponse, status: number, message: string, showServedBy: boolean): void {
  if (response.destroyed || response.headersSent) return;
  response.writeHead(status, {
    'Content-Type': 'text/plain; charset=utf-8',
    ...(showServedBy && { 'Orilla-Served-By': 'gateway' }),
  });
  response.end(`${message}\n`);
}
