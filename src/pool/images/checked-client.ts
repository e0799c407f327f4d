/**
 * Asks servers for files on behalf of people who are not trusted: a name is looked up once, the addresses are checked,
 * and the connection goes to one that was checked. So a name that leads elsewhere the second time it is asked (DNS
 * rebinding) leads nowhere new, and a redirect gets no further than a reference would.
 * @module
 */
import { lookup } from 'node:dns/promises';
import { request as httpRequest, type IncomingMessage, type OutgoingHttpHeaders } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isIP } from 'node:net';
import { systemCode } from '../../base/index.ts';
import { poolError } from '../errors.ts';
import type { ServerPolicy } from './server-policy.ts';

/** All addresses of a host name. */
export type Resolve = (hostname: string) => Promise<readonly string[]>;

const systemResolve: Resolve = async (hostname) =>
  (await lookup(hostname, { all: true })).map(({ address }) => address);

const REDIRECT_LIMIT = 5;
/** A server may have more; these are enough to get around one that is down. */
const ADDRESS_LIMIT = 4;
/** Nothing has been sent: the next address may do. */
const UNREACHABLE = new Set(['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ETIMEDOUT', 'EADDRNOTAVAIL']);

export class CheckedClient {
  readonly #policy: ServerPolicy;
  readonly #resolve: Resolve;
  /** By host name: kept as long as the client, which is for one image. */
  readonly #addresses = new Map<string, Promise<readonly string[]>>();

  constructor(policy: ServerPolicy, resolve: Resolve = systemResolve) {
    this.#policy = policy;
    this.#resolve = resolve;
  }

  /**
   * The answer to a GET, after redirects; its body has not been read.
   *
   * @throws `image_outside_root` for a server that is not allowed, `image_address_refused` for an address or a redirect
   *   that is not, `image_fetch_failed` for too many redirects; the system's error when no connection comes about.
   */
  async get(url: URL, signal: AbortSignal, headers: OutgoingHttpHeaders = {}): Promise<IncomingMessage> {
    let current = url;
    for (let redirects = 0; ; redirects += 1) {
      checkForm(current);
      this.#policy.check(current);
      const answer = await this.#ask(current, signal, headers);
      const target = redirectTarget(answer, current);
      if (target === undefined) return answer;
      answer.destroy();
      if (redirects === REDIRECT_LIMIT) {
        throw poolError('image_fetch_failed', `${url.href} redirects more than ${REDIRECT_LIMIT} times`);
      }
      if (current.protocol === 'https:' && target.protocol === 'http:') {
        throw poolError('image_address_refused', `${url.href} redirects from https to ${target.href}`);
      }
      current = target;
    }
  }

  async #ask(url: URL, signal: AbortSignal, headers: OutgoingHttpHeaders): Promise<IncomingMessage> {
    let unreachable: unknown;
    for (const address of await this.#allowedAddresses(url, signal)) {
      try {
        return await send(url, address, signal, headers);
      } catch (error) {
        if (!UNREACHABLE.has(systemCode(error) ?? '')) throw error;
        unreachable = error;
      }
    }
    throw unreachable;
  }

  async #allowedAddresses(url: URL, signal: AbortSignal): Promise<readonly string[]> {
    const host = url.hostname.replace(/^\[|\]$/g, '');
    const all = isIP(host) === 0 ? await this.#lookUp(host, signal) : [host];
    const allowed = all.filter((address) => this.#policy.mayConnect(url, address));
    if (allowed.length > 0) return allowed.slice(0, ADDRESS_LIMIT);
    // The name's addresses are not told: they would show the asker what the gateway's network looks like.
    throw poolError(
      'image_address_refused',
      `${url.host} has no address from which an image may be fetched: only servers of the Internet, and addresses that the operator listed`,
    );
  }

  #lookUp(host: string, signal: AbortSignal): Promise<readonly string[]> {
    const known = this.#addresses.get(host);
    const asked = known ?? this.#resolve(host);
    if (!known) this.#addresses.set(host, asked);
    const { promise, resolve, reject } = Promise.withResolvers<readonly string[]>();
    const onAbort = () => reject(signal.reason as Error);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    asked.then(resolve, reject);
    return promise.finally(() => signal.removeEventListener('abort', onAbort));
  }
}

/** What no policy allows. */
function checkForm(url: URL): void {
  if (!/^https?:$/.test(url.protocol)) {
    throw poolError('image_address_refused', `images come over http and https, not from ${url.protocol}`);
  }
  if (url.username !== '' || url.password !== '') {
    throw poolError('image_address_refused', `${url.host}: no user name or password is sent for an image`);
  }
}

function redirectTarget(answer: IncomingMessage, from: URL): URL | undefined {
  const { location } = answer.headers;
  if (location === undefined || ![301, 302, 303, 307, 308].includes(answer.statusCode ?? 0)) return undefined;
  if (URL.canParse(location, from)) return new URL(location, from);
  answer.destroy();
  throw poolError('image_fetch_failed', `${from.href} redirects to what is no URL`);
}

/** Only the address is connected to; the name goes into `Host`, and into the certificate's check. */
function send(
  url: URL,
  address: string,
  signal: AbortSignal,
  headers: OutgoingHttpHeaders,
): Promise<IncomingMessage> {
  const isTls = url.protocol === 'https:';
  const name = url.hostname.replace(/^\[|\]$/g, '');
  return new Promise((resolve, reject) => {
    const asking = (isTls ? httpsRequest : httpRequest)({
      host: address,
      port: Number(url.port) || (isTls ? 443 : 80),
      path: `${url.pathname}${url.search}`,
      headers: { host: url.host, 'accept-encoding': 'identity', 'user-agent': 'orilla', ...headers },
      agent: false,
      signal,
      ...(isTls && isIP(name) === 0 && { servername: name }),
    });
    asking.once('response', resolve).on('error', reject).end();
  });
}
