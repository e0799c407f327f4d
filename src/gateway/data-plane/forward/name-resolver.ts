import { Resolver } from 'node:dns/promises';
import type { Clock } from '../../../base/index.ts';
import { forwardError } from './errors.ts';

/** A name's addresses, and how long they hold. */
export interface Addresses {
  readonly addresses: readonly string[];
  readonly lifetimeMs: number;
}

/** Asks for a name. Rejects when it has no address. */
export type AskName = (name: string) => Promise<Addresses>;

const QUERY_TIMEOUT_MS = 2000;
const QUERY_TRIES = 2;
/** Names are kept at least so long, however short their owner says: one that answers for each request is asked for each. */
const SHORTEST_MS = 5000;
const LONGEST_MS = 300_000;
/** A name that could not be resolved is not asked again for so long. */
const FAILURE_MS = 3000;
const NAME_LIMIT = 4096;
/** Clients can ask for names whose servers never answer: so many of them are waited for at a time. */
const PENDING_LIMIT = 256;

interface KnownName {
  readonly answer: Promise<readonly string[]>;
  untilMs: number;
}

/** Resolves names for whoever asks through this gateway: each once, however many ask, and bounded in number. */
export class NameResolver {
  readonly #clock: Clock;
  readonly #ask: AskName;
  readonly #names = new Map<string, KnownName>();
  #pending = 0;

  constructor(clock: Clock, ask: AskName = systemNames()) {
    this.#clock = clock;
    this.#ask = ask;
  }

  /** @throws `name_unresolved` */
  resolve(name: string): Promise<readonly string[]> {
    const known = this.#names.get(name);
    if (known && this.#clock.monotonicMs() < known.untilMs) return known.answer;
    if (this.#pending >= PENDING_LIMIT) {
      return Promise.reject(forwardError('name_unresolved', 'too many names are being resolved'));
    }
    const entry: KnownName = {
      answer: this.#lookUp(name, (lifetimeMs) => {
        entry.untilMs = this.#clock.monotonicMs() + lifetimeMs;
      }),
      untilMs: Number.POSITIVE_INFINITY,
    };
    // Behind all others: the oldest goes first.
    this.#names.delete(name);
    this.#names.set(name, entry);
    for (const oldest of this.#names.keys()) {
      if (this.#names.size <= NAME_LIMIT) break;
      this.#names.delete(oldest);
    }
    return entry.answer;
  }

  async #lookUp(name: string, keep: (lifetimeMs: number) => void): Promise<readonly string[]> {
    this.#pending += 1;
    try {
      const { addresses, lifetimeMs } = await this.#ask(name);
      keep(Math.min(LONGEST_MS, Math.max(SHORTEST_MS, lifetimeMs)));
      return addresses;
    } catch (error) {
      keep(FAILURE_MS);
      throw forwardError('name_unresolved', `${name} has no address`, error);
    } finally {
      this.#pending -= 1;
    }
  }
}

/** By the name servers of this machine, or those that are given; no thread waits for them. */
export function systemNames(servers?: readonly string[]): AskName {
  const resolver = new Resolver({ timeout: QUERY_TIMEOUT_MS, tries: QUERY_TRIES });
  if (servers) resolver.setServers(servers);
  return async (name) => {
    const answers = await Promise.allSettled([
      resolver.resolve4(name, { ttl: true }),
      resolver.resolve6(name, { ttl: true }),
    ]);
    const records = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
    const [failure] = answers.flatMap((answer) =>
      answer.status === 'rejected' ? [answer.reason as unknown] : [],
    );
    if (records.length === 0) throw failure;
    return {
      addresses: records.map(({ address }) => address),
      lifetimeMs: Math.min(...records.map(({ ttl }) => ttl)) * 1000,
    };
  };
}
