import type { Exchange, ServedBy } from './data-plane.ts';
import type { LimitName } from './limits.ts';

/** Upper ends of the histogram's buckets, in seconds; what is slower is only in the sum. */
export const FIRST_BYTE_BUCKETS_S = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30];

/** What one server's answers to one origin's requests came to. */
export interface ServerTally {
  /** By first digit of the status less one: 1xx to 5xx. */
  readonly requests: number[];
  broken: number;
  /** Per bucket, not summed up over the smaller ones. */
  readonly firstByteBuckets: number[];
  firstByteSumS: number;
  firstByteCount: number;
}

/** What the requests for one origin came to. */
export interface OriginTally {
  readonly servers: Partial<Record<ServedBy, ServerTally>>;
  originBytes: number;
  vmBytes: number;
  replays: number;
  /** What met a limit. */
  readonly limited: Partial<Record<LimitName, number>>;
  /** Lines of the access log; counted without an origin. */
  lostLogLines: number;
}

/** Counts requests where they are served; the counts travel, not the requests. By origin, so their number is bounded. */
export class Tally {
  #origins = new Map<string, OriginTally>();

  get origins(): ReadonlyMap<string, OriginTally> {
    return this.#origins;
  }

  count(exchange: Exchange): void {
    const tally = this.#origin(exchange.origin);
    tally.originBytes += exchange.originBytes;
    tally.vmBytes += exchange.vmBytes;
    if (exchange.wasReplayed) tally.replays += 1;
    if (exchange.limit) tally.limited[exchange.limit] = (tally.limited[exchange.limit] ?? 0) + 1;
    const server = serverIn(tally, exchange.servedBy);
    const statusClass = Math.floor(exchange.status / 100) - 1;
    server.requests[statusClass] = (server.requests[statusClass] ?? 0) + 1;
    const { firstByteMs } = exchange;
    if (firstByteMs === undefined) return;
    if (exchange.failure !== undefined) server.broken += 1;
    const seconds = firstByteMs / 1000;
    server.firstByteSumS += seconds;
    server.firstByteCount += 1;
    const bucket = FIRST_BYTE_BUCKETS_S.findIndex((end) => seconds <= end);
    if (bucket >= 0) server.firstByteBuckets[bucket] = (server.firstByteBuckets[bucket] ?? 0) + 1;
  }

  countLogLoss(lines: number): void {
    this.#origin('').lostLogLines += lines;
  }

  get isEmpty(): boolean {
    return this.#origins.size === 0;
  }

  /** What was counted since the last time, as plain data. */
  take(): [origin: string, tally: OriginTally][] {
    const taken = [...this.#origins];
    this.#origins = new Map();
    return taken;
  }

  /** Adds what was counted elsewhere. */
  add(counted: readonly (readonly [origin: string, tally: OriginTally])[]): void {
    for (const [origin, more] of counted) {
      const tally = this.#origin(origin);
      tally.originBytes += more.originBytes;
      tally.vmBytes += more.vmBytes;
      tally.replays += more.replays;
      tally.lostLogLines += more.lostLogLines;
      for (const [limit, count] of Object.entries(more.limited)) {
        tally.limited[limit as LimitName] = (tally.limited[limit as LimitName] ?? 0) + count;
      }
      for (const [servedBy, from] of Object.entries(more.servers)) {
        const server = serverIn(tally, servedBy as ServedBy);
        server.broken += from.broken;
        server.firstByteSumS += from.firstByteSumS;
        server.firstByteCount += from.firstByteCount;
        addTo(server.requests, from.requests);
        addTo(server.firstByteBuckets, from.firstByteBuckets);
      }
    }
  }

  #origin(origin: string): OriginTally {
    const known = this.#origins.get(origin);
    if (known) return known;
    const tally: OriginTally = {
      servers: {},
      originBytes: 0,
      vmBytes: 0,
      replays: 0,
      limited: {},
      lostLogLines: 0,
    };
    this.#origins.set(origin, tally);
    return tally;
  }
}

function serverIn(tally: OriginTally, servedBy: ServedBy): ServerTally {
  tally.servers[servedBy] ??= {
    requests: [0, 0, 0, 0, 0],
    broken: 0,
    firstByteBuckets: FIRST_BYTE_BUCKETS_S.map(() => 0),
    firstByteSumS: 0,
    firstByteCount: 0,
  };
  return tally.servers[servedBy];
}

function addTo(sums: number[], more: readonly number[]): void {
  for (const [index, count] of more.entries()) sums[index] = (sums[index] ?? 0) + count;
}
