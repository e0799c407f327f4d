import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Clock, messageOf, systemClock } from '../../base/index.ts';
import { NonceMemory } from '../../trust/index.ts';
import { withoutDefaultPort } from '../data-plane/target.ts';
import { type SharedKey, sharedTagKey } from '../tag-key.ts';
import { decide, type NamedVm, type Presence, type Threshold, UserWindow } from './decision.ts';
import { obtainServer, type WantedServer, wayFor } from './edge-server.ts';
import { checkTag, type KnownGateway, taggedAuthority } from './tag-check.ts';

/** With `vm`, with `application`, or with both: the VM is loaded where there is none, the application put where one runs. */
export interface EdgeOffloadOptions extends WantedServer {
  /**
   * The gateways that are known: where the VM API of each is, and the token that its operator gave out. While the operator
   * changes it, both, the newest first: tags by any of them are believed, and the gateway is asked with the first, which
   * it accepts from the moment in which it was made.
   */
  readonly gateways: readonly { readonly api: string; readonly token: string | readonly string[] }[];
  /**
   * How a visitor is told of the VM [gateway G9]: by header fields beside the ordinary page, by the body, or by a redirect
   * once the VM is ready. `header` when absent.
   */
  readonly answer?: 'header' | 'body' | 'redirect';
  /** A VM is loaded once so many users came through one gateway; by the first one when absent [gateway G11]. */
  readonly threshold?: Threshold;
  /** Told what was decided, and why, a line each. Silent when absent. */
  readonly log?: (line: string) => void;
  readonly clock?: Clock;
}

interface Gateway extends KnownGateway {
  readonly baseUrl: string;
  readonly token: string;
  readonly keys: readonly SharedKey[];
  readonly users: UserWindow;
  /** Of each way by itself: a VM that was loaded is not yet one in which the application runs. */
  readonly presence: Record<'vm' | 'application', Presence>;
}

/** A VM that serves is asked for again after this, in case the gateway lost it. */
const READY_BELIEVED_MS = 30_000;
const STARTING_BELIEVED_MS = 2000;
const REFUSAL_PAUSE_MS = 15_000;
/** A visitor waits no longer than this for the gateway's answer; with a redirect, for the VM. */
const PATIENCE_MS = 500;
const REDIRECT_PATIENCE_S = 10;
const NONCES_LIMIT = 100_000;

/**
 * The origin's part: sees the gateway's tag, verifies it, decides, has its VM loaded there and tells the visitor. Visitors
 * never notice when the gateway fails: they get the ordinary page.
 */
export class EdgeOffload {
  readonly #options: EdgeOffloadOptions;
  readonly #clock: Clock;
  readonly #gateways: readonly Gateway[];
  readonly #nonces = new NonceMemory({ lifetimeMs: 70_000, limit: NONCES_LIMIT });

  /** @throws Error when a gateway's `api` is not a host with a port, or a URL of one; when it has no token. */
  constructor(options: EdgeOffloadOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#gateways = options.gateways.map(({ api, token }) => {
      const authority = taggedAuthority(api);
      if (authority === undefined)
        throw new Error(`gateways: got "${api}", expected for example "192.0.2.1:8081"`);
      const tokens = typeof token === 'string' ? [token] : token;
      const [newest] = tokens;
      if (newest === undefined) throw new Error(`gateways: ${api} has no token, expected one at least`);
      const scheme = /^https:/i.test(api) ? 'https' : 'http';
      return {
        authority,
        baseUrl: `${scheme}://${authority}`,
        token: newest,
        keys: tokens.map(sharedTagKey),
        users: new UserWindow(options.threshold?.withinMs ?? 60_000),
        presence: { vm: { kind: 'unknown' }, application: { kind: 'unknown' } },
      };
    });
  }

  /**
   * For `node:http`. True when the request was answered here; otherwise it is to be answered as always.
   *
   * @example
   * createServer(async (request, response) => {
   *   if (!(await offload.handle(request, response))) site(request, response);
   * });
   */
  async handle(request: IncomingMessage, response: ServerResponse): Promise<boolean> {
    const verdict = checkTag(signedRequest(request), this.#gateways, this.#nonces, this.#clock.nowMs());
    if (verdict.kind === 'refused') this.#options.log?.(`tag not believed: ${verdict.reason}`);
    if (verdict.kind !== 'gateway') return false;
    const vm = await this.#vmOn(verdict.gateway, verdict.assigned, userOf(request));
    return vm !== undefined && this.#tell(vm, request, response);
  }

  /** For Express and Connect: `app.use(offload.middleware)`. */
  readonly middleware = (
    request: IncomingMessage,
    response: ServerResponse,
    next: (error?: unknown) => void,
  ): void => {
    this.handle(request, response)
      .then((isAnswered) => isAnswered || next())
      .catch(next);
  };

  /** For Fastify: `app.addHook('onRequest', offload.onRequest)`. */
  readonly onRequest = async (
    request: { readonly raw: IncomingMessage },
    reply: { readonly raw: ServerResponse; hijack(): unknown },
  ): Promise<void> => {
    if (await this.handle(request.raw, reply.raw)) reply.hijack();
  };

  async #vmOn(gateway: Gateway, assigned: string | undefined, user: string): Promise<NamedVm | undefined> {
    const nowMs = this.#clock.nowMs();
    const users = gateway.users.count(user, nowMs);
    const way = wayFor(this.#options, assigned);
    if (way === undefined) return undefined;
    const presence = gateway.presence[way];
    switch (decide(presence, users, this.#options.threshold, nowMs)) {
      case 'pass':
        return undefined;
      case 'name':
        return presence.kind === 'loaded' ? presence.vm : undefined;
      case 'ask':
        return this.#ask(gateway, way, assigned);
    }
  }

  /** One call at a time however many visitors come; the one who set it off waits for it a little. */
  async #ask(
    gateway: Gateway,
    way: 'vm' | 'application',
    assigned: string | undefined,
  ): Promise<NamedVm | undefined> {
    const { answer, log } = this.#options;
    const waitS = answer === 'redirect' ? REDIRECT_PATIENCE_S : 0;
    const before = gateway.presence[way];
    const isBegun = before.kind === 'loaded' && !before.vm.isReady;
    gateway.presence[way] = { kind: 'asked' };
    const occasion = { assigned, isBegun, waitS };
    const asked = obtainServer(this.#clock, gateway, this.#options, occasion).then(
      (vm) => {
        if (!vm) return undefined;
        const believedMs = vm.isReady ? READY_BELIEVED_MS : STARTING_BELIEVED_MS;
        gateway.presence[way] = { kind: 'loaded', vm, untilMs: this.#clock.nowMs() + believedMs };
        log?.(`${gateway.authority} has ${vm.host}${vm.isReady ? '' : ', on its way'}`);
        return vm;
      },
      (error: unknown) => {
        gateway.presence[way] = { kind: 'refused', untilMs: this.#clock.nowMs() + REFUSAL_PAUSE_MS };
        log?.(`${gateway.authority} did not do it: ${messageOf(error)}`);
        return undefined;
      },
    );
    const patience = new AbortController();
    const tooLong = this.#clock.sleep(PATIENCE_MS + waitS * 1000, patience.signal).catch(() => undefined);
    try {
      return (await Promise.race([asked, tooLong])) ?? undefined;
    } finally {
      patience.abort();
    }
  }

  #tell(vm: NamedVm, request: IncomingMessage, response: ServerResponse): boolean {
    switch (this.#options.answer ?? 'header') {
      case 'header':
        response.setHeader('Vm-Host-Name', vm.host);
        response.setHeader('Vm-Ip', vm.ip);
        return false;
      case 'body':
        if (request.method !== 'GET') return false;
        response.writeHead(200, { 'Content-Type': 'text/plain; charset=utf-8', 'Cache-Control': 'no-store' });
        response.end(`vmip=${vm.ip}; vm-host-name=${vm.host}\n`);
        return true;
      case 'redirect': {
        // The gateway sends here what the VM cannot serve: to redirect that would lead in a circle.
        const cameForVm = request.headers['x-forwarded-host']?.toString().startsWith(vm.host) === true;
        if (request.method !== 'GET' || !vm.isReady || cameForVm) return false;
        response.writeHead(302, { Location: vm.url, 'Cache-Control': 'no-store', 'Content-Length': 0 });
        response.end();
        return true;
      }
    }
  }
}

function signedRequest(request: IncomingMessage) {
  const { headers, method = 'GET' } = request;
  // Express shortens `url` below a mounted path and keeps what was asked for in `originalUrl`.
  const url = (request as { originalUrl?: string }).originalUrl ?? request.url ?? '/';
  const isTls = 'encrypted' in request.socket;
  return {
    method,
    authority: withoutDefaultPort(headers.host ?? '', isTls),
    path: url.replace(/\?.*$/s, ''),
    fields: Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : value]),
    ),
  };
}

/** The gateway says who the user is; it is believed because its tag was. */
const userOf = (request: IncomingMessage): string =>
  request.headers['x-forwarded-for']?.toString().slice(0, 100) ?? request.socket.remoteAddress ?? '';
