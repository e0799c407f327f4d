import { type Clock, type Closable, hasCode } from '../base/index.ts';
import type { Log } from '../platform/telemetry/index.ts';
import type { Pool } from '../pool/index.ts';
import type { VmUse } from './data-plane/vm-uses.ts';

export interface IdleVmsDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly pool: Pick<Pool, 'list' | 'suspend'>;
  readonly traffic: VmTraffic;
}

/** What the data plane knows of who uses which VM. */
export interface VmTraffic {
  /** Brings what `useOf` tells up to date. */
  refresh(): Promise<void>;
  useOf(vm: string): VmUse | undefined;
  /** Resolves when requests are served as the pool is now. */
  settled(): Promise<void>;
}

const SHORTEST_LOOK_MS = 250;
const LONGEST_LOOK_MS = 10_000;
/** Requests that a VM has when it is to be suspended may end; WebSockets have not ended by then, and are cut. */
const QUIET_LIMIT_MS = 10_000;
const QUIET_LOOK_MS = 50;

/** Suspends VMs that nobody asks anything: from their last octet on, as long as no request of theirs is under way. */
export class IdleVms implements Closable {
  readonly #deps: IdleVmsDeps;
  readonly #limitMs: number;
  /** On the monotonic clock, since when a VM is ready; only of those that are. */
  readonly #readySince = new Map<string, number>();
  readonly #closing = new AbortController();
  readonly #watching: Promise<void>;

  /** @param limitMs how long nobody may have asked it anything. */
  constructor(deps: IdleVmsDeps, limitMs: number) {
    this.#deps = deps;
    this.#limitMs = limitMs;
    this.#watching = this.#watch();
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#watching;
  }

  async #watch(): Promise<void> {
    const { clock } = this.#deps;
    const { signal } = this.#closing;
    const intervalMs = Math.min(LONGEST_LOOK_MS, Math.max(SHORTEST_LOOK_MS, this.#limitMs / 4));
    while (!signal.aborted) {
      await clock.sleep(intervalMs, signal).catch(() => undefined);
      if (!signal.aborted) await this.#look();
    }
  }

  async #look(): Promise<void> {
    const { clock, log, pool, traffic } = this.#deps;
    const ready = pool.list().filter(({ phase, next }) => phase === 'ready' && !next);
    const names = new Set(ready.map(({ name }) => name));
    const nowMs = clock.monotonicMs();
    for (const name of this.#readySince.keys()) if (!names.has(name)) this.#readySince.delete(name);
    for (const name of names) if (!this.#readySince.has(name)) this.#readySince.set(name, nowMs);
    if (names.size === 0) return;
    await traffic.refresh();
    for (const name of names) {
      const sinceMs = nowMs - (this.#readySince.get(name) ?? nowMs);
      const idleMs = Math.min(sinceMs, traffic.useOf(name)?.idleMs ?? Number.POSITIVE_INFINITY);
      if (idleMs < this.#limitMs) continue;
      pool.suspend(name, 'idleness').catch((error: unknown) => {
        if (!hasCode(error)) log.error({ err: error, vm: name }, 'an idle VM was not suspended');
      });
    }
  }
}

/** Resolves when no request of the VM is under way, once no new one goes to it; or when it took too long. */
export async function untilQuiet(clock: Clock, traffic: VmTraffic, vm: string): Promise<void> {
  const deadlineMs = clock.monotonicMs() + QUIET_LIMIT_MS;
  await traffic.settled();
  for (;;) {
    await traffic.refresh();
    if ((traffic.useOf(vm)?.active ?? 0) === 0 || clock.monotonicMs() >= deadlineMs) return;
    await clock.sleep(QUIET_LOOK_MS);
  }
}
