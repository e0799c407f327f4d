/**
 * The conversation with an edge gateway, in plain HTTP:
 *
 *     gateway → origin   GET / with `Bng-API-URL: 127.0.0.1:8081/version1/virtualmachine` (the tag)
 *     origin → gateway   POST /version1/virtualmachine {"virtualmachine": {"name", "imageRef", …}}
 *     gateway → origin   201 (ready) or 202 (still starting) {"virtualmachine": {"host", "ip", "url", "status", …}}
 */
import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';

export const VM_API_PATH = '/version1/virtualmachine';

/** What identifies our VM to a visitor. */
export interface Vm {
  /** Requests are served by it from `ready` on; until then they still come here. */
  readonly status: string;
  readonly host: string;
  readonly ip?: string;
  readonly url?: string;
}

export interface EdgeClientDeps {
  readonly log: (line: string) => void;
  /** Read at each call, so that a new image or a new token needs no restart. */
  readonly readManifest: () => Promise<Uint8Array>;
  readonly readToken: () => Promise<string>;
}

export interface EdgeClientOptions {
  readonly name: string;
  readonly configurationId: string;
  /** Where the gateway fetches the image from. */
  readonly imageRef: string;
  /** How long a gateway may hold its answer back until the VM is ready (RFC 7240 §4.3); 0: it answers at once. */
  readonly waitSeconds: number;
  /** For how long a failed call is not repeated. */
  readonly pauseMs: number;
}

/** What we know of one gateway. */
type Knowledge =
  | {
      readonly phase: 'asking';
      readonly answer: Promise<Vm | undefined>;
      readonly patience: Promise<undefined>;
    }
  | { readonly phase: 'loaded'; readonly vm: Vm; readonly untilMs: number }
  | { readonly phase: 'paused'; readonly untilMs: number };

const CALL_TIMEOUT_MS = 10_000;
const PATIENCE_MS = 500; // What a visitor may be kept waiting for a gateway that ought to answer at once.
const READY_BELIEVED_MS = 30_000; // Then a tagged request is a reason to ask again: VMs are stopped, gateways restart.
const STARTING_BELIEVED_MS = 3_000;
const ANSWER_LIMIT_BYTES = 64 * 1024;

export class EdgeClient {
  readonly #deps: EdgeClientDeps;
  readonly #options: EdgeClientOptions;
  readonly #known = new Map<URL, Knowledge>();
  /** Where visitors have waited for a VM in vain: until it is ready, nobody is made to wait there again. */
  readonly #waitedInVain = new Set<URL>();
  readonly #closing = new AbortController();

  constructor(deps: EdgeClientDeps, options: EdgeClientOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** Our VM on that gateway, asked for if need be; `undefined` when it cannot be had now. Never throws. */
  async vmOn(gateway: URL): Promise<Vm | undefined> {
    let known = this.#known.get(gateway);
    if (known === undefined || (known.phase !== 'asking' && performance.now() >= known.untilMs)) {
      // Set before anything is awaited: however many visitors arrive, there is one call at a time.
      const waitSeconds = this.#waitedInVain.has(gateway) ? 0 : this.#options.waitSeconds;
      const patience = delay(PATIENCE_MS + waitSeconds * 1000, undefined, { ref: false });
      known = { phase: 'asking', answer: this.#ask(gateway, waitSeconds), patience };
      this.#known.set(gateway, known);
    }
    switch (known.phase) {
      case 'loaded':
        return known.vm;
      case 'paused':
        return undefined;
      case 'asking':
        // The call's patience, not the visitor's: who comes late to a gateway that hangs does not wait again.
        return Promise.race([known.answer, known.patience]);
    }
  }

  /** Gives up the calls that are under way. */
  close(): void {
    this.#closing.abort();
  }

  async #ask(gateway: URL, waitSeconds: number): Promise<Vm | undefined> {
    const { log } = this.#deps;
    log(`${gateway.host}: asking for our VM`);
    this.#waitedInVain.add(gateway);
    try {
      const vm = await this.#post(gateway, waitSeconds);
      if (vm.status === 'ready') this.#waitedInVain.delete(gateway);
      const believedMs = vm.status === 'ready' ? READY_BELIEVED_MS : STARTING_BELIEVED_MS;
      this.#known.set(gateway, { phase: 'loaded', vm, untilMs: performance.now() + believedMs });
      log(`${gateway.host}: our VM is ${vm.host}, ${vm.status}`);
      return vm;
    } catch (error) {
      const { pauseMs } = this.#options;
      this.#known.set(gateway, { phase: 'paused', untilMs: performance.now() + pauseMs });
      if (!this.#closing.signal.aborted) {
        log(
          `${gateway.host}: no VM (${reasonOf(error)}); we serve, next try in ${pauseMs / 1000} s at the earliest`,
        );
      }
      return undefined;
    }
  }

  async #post(gateway: URL, waitSeconds: number): Promise<Vm> {
    const { name, imageRef, configurationId: configurationid } = this.#options;
    const manifest = createHash('sha256').update(await this.#deps.readManifest());
    const response = await fetch(gateway, {
      method: 'POST',
      headers: {
        'Content-Type': 'application/json',
        Accept: 'application/json',
        Authorization: `Bearer ${await this.#deps.readToken()}`,
        ...(waitSeconds > 0 && { Prefer: `wait=${waitSeconds}` }),
      },
      // With the digest the gateway runs this image and no other, whatever it is given when it fetches.
      body: JSON.stringify({
        virtualmachine: { name, imageRef, configurationid, imageDigest: `sha256:${manifest.digest('hex')}` },
      }),
      redirect: 'error', // The token is for this address only.
      signal: AbortSignal.any([
        this.#closing.signal,
        AbortSignal.timeout(CALL_TIMEOUT_MS + waitSeconds * 1000),
      ]),
    });
    return vmOf(response.status, await limitedText(response));
  }
}

/**
 * The gateway that a request's tag names: one of `gateways`, or `undefined`.
 *
 * The tag only picks from our own list and is never called itself, because anybody can write such a header: a visitor
 * who sent `Bng-API-URL: evil.example` would otherwise be sent our token.
 */
export function gatewayOf(headers: IncomingHttpHeaders, gateways: readonly URL[]): URL | undefined {
  const url = single(headers['bng-api-url']); // Node lower-cases names: `Bng-Api-URL` is this one too.
  const server = single(headers['bng-api-server']);
  const tag = url ?? (server === undefined ? undefined : `${server}${VM_API_PATH}`);
  if (tag === undefined || tag.length > 512) return undefined;
  return gateways.find((gateway) => apiUrl(tag, gateway.protocol)?.href === gateway.href);
}

/** The address of a VM-loading API as people and gateways write it: the scheme may be absent, slashes doubled. */
export function apiUrl(text: string, defaultScheme = 'http:'): URL | undefined {
  const url = URL.parse(/^https?:\/\//i.test(text) ? text : `${defaultScheme}//${text}`);
  if (url === null) return undefined;
  url.pathname = url.pathname === '/' ? VM_API_PATH : url.pathname.replace(/\/{2,}/g, '/');
  return url;
}

/** A header's value; several headers of one name are somebody's mistake or attempt, and count as none. */
function single(value: string | string[] | undefined): string | undefined {
  return typeof value === 'string' && !value.includes(',') ? value.trim() || undefined : undefined;
}

function vmOf(status: number, text: string): Vm {
  const answer = parseRecord(text);
  if (status !== 201 && status !== 202) {
    const { code, message } = record(answer['error']);
    const reason = typeof code === 'string' && typeof message === 'string' ? `: ${code}, ${message}` : '';
    throw new Error(`it answered ${status}${reason}`);
  }
  const { status: phase, host, ip, url } = record(answer['virtualmachine']);
  if (phase === 'failed') throw new Error('the VM failed to start');
  if (typeof phase !== 'string' || !isAuthority(host)) throw new Error(`its answer ${status} names no VM`);
  return {
    status: phase,
    host,
    ...(isAuthority(ip) && { ip }),
    ...(typeof url === 'string' && /^https?:$/.test(URL.parse(url)?.protocol ?? '') && { url }),
  };
}

/** A host name or an address, perhaps with a port: nothing in it can end a header or start another field. */
function isAuthority(value: unknown): value is string {
  return typeof value === 'string' && /^[A-Za-z0-9.:[\]_-]{1,260}$/.test(value);
}

function parseRecord(text: string): Record<string, unknown> {
  try {
    return record(JSON.parse(text));
  } catch {
    return {}; // An error page of something in between: the status says enough.
  }
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

async function limitedText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of response.body ?? []) {
    sizeBytes += chunk.byteLength;
    if (sizeBytes > ANSWER_LIMIT_BYTES)
      throw new Error(`its answer is longer than ${ANSWER_LIMIT_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** `fetch` says "fetch failed" and hides why in the cause. */
function reasonOf(error: unknown): string {
  const innermost = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const text = innermost instanceof Error ? innermost.message : '';
  return (text || String(innermost)).replace(/\p{Cc}/gu, ' ').slice(0, 300); // One line, whatever the other side sent.
}
