import { DEFAULT_LIMITS, type Limits } from './limits.ts';
import { clientNetwork } from './limits-client-network.ts';

/** A client may have saved up the requests of so many seconds: pages come with dozens of files at once. */
const BURST_S = 2;
/** More than there can be connections, so that those that are open are never forgotten. */
const CLIENT_LIMIT = 50_000;

interface Client {
  connections: number;
  /** Requests that it may send now. */
  tokens: number;
  tokensAtMs: number;
}

/** What each client has at the moment. Bounded: of many clients the one that was quiet longest is forgotten first. */
export class ClientTable {
  readonly #clients = new Map<string, Client>();
  limits: Limits = DEFAULT_LIMITS;

  /** Counts a connection. False when the client has as many as it may have. */
  connect(address: string, nowMs: number): boolean {
    const client = this.#client(clientNetwork(address), nowMs);
    if (client.connections >= this.limits.connectionsPerClient) return false;
    client.connections += 1;
    return true;
  }

  disconnect(address: string): void {
    const key = clientNetwork(address);
    const client = this.#clients.get(key);
    if (!client) return;
    client.connections -= 1;
    // What it has used up is remembered: a new connection does not bring new requests.
    if (client.connections <= 0 && this.limits.requestsPerSecondPerClient === undefined) {
      this.#clients.delete(key);
    }
  }

  /** Counts a request. False when the client has sent as many as it may. */
  request(address: string, nowMs: number): boolean {
    const perSecond = this.limits.requestsPerSecondPerClient;
    if (perSecond === undefined) return true;
    const client = this.#client(clientNetwork(address), nowMs);
    const earned = ((nowMs - client.tokensAtMs) / 1000) * perSecond;
    client.tokens = Math.min(perSecond * BURST_S, client.tokens + earned);
    client.tokensAtMs = nowMs;
    if (client.tokens < 1) return false;
    client.tokens -= 1;
    return true;
  }

  /** Forgets who has no connection and has all its requests again. */
  sweep(nowMs: number): void {
    for (const [key, client] of this.#clients) {
      if (client.connections <= 0 && nowMs - client.tokensAtMs >= BURST_S * 1000) this.#clients.delete(key);
    }
  }

  get size(): number {
    return this.#clients.size;
  }

  #client(key: string, nowMs: number): Client {
    const known = this.#clients.get(key);
    if (known) return known;
    if (this.#clients.size >= CLIENT_LIMIT) this.#forgetOne();
    const tokens = (this.limits.requestsPerSecondPerClient ?? 0) * BURST_S;
    const client = { connections: 0, tokens, tokensAtMs: nowMs };
    this.#clients.set(key, client);
    return client;
  }

  #forgetOne(): void {
    for (const [key, client] of this.#clients) {
      this.#clients.delete(key);
      if (client.connections <= 0) return;
      // To the end, so that the next one does not have to be looked for behind it.
      this.#clients.set(key, client);
    }
  }
}
