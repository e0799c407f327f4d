import { type Clock, type Closable, messageOf } from '../../../base/index.ts';
import type { Log } from '../../../platform/telemetry/index.ts';
import { machineCost } from '../../machine-cost.ts';
import type { Accelerator, MachineSpec } from '../hypervisor.ts';
import type { WaitingMachine } from './cloning.ts';

import { waitAside } from './wait-aside.ts';
import { type Demand, isForgotten, warmTargets, withStart } from './warm-sizing.ts';

/** How long nobody must have started anything before another machine is made. */
const QUIET_MS = 250;
/** Demand fades, and the room changes, while nobody starts anything. */
const LOOK_INTERVAL_MS = 10_000;
/** How often machines of one kind may come to nothing. */
const ATTEMPTS = 3;

/** What a waiting machine is made from. */
export interface WarmRequest {
  /** Of its template. */
  readonly key: string;
  readonly spec: Pick<MachineSpec, 'image' | 'configuration'>;
  readonly accelerator: Accelerator;
}

export interface WarmMachinesDeps {
  readonly clock: Clock;
  readonly log: Log;
  /** How much of the host's memory waiting machines may take now. */
  readonly limitBytes: () => number;
  /** Makes one; `undefined` when there is no template. */
  readonly make: (request: WarmRequest, signal: AbortSignal) => Promise<WaitingMachine | undefined>;
}

interface Kind {
  readonly request: WarmRequest;
  demand: Demand;
  failures: number;
  readonly waiting: WaitingMachine[];
}

/** Holds machines ready for the starts that are to be expected. They are made one at a time, while nobody waits for a start. */
export class WarmMachines implements Closable {
  readonly #deps: WarmMachinesDeps;
  readonly #kinds = new Map<string, Kind>();
  readonly #closing = new AbortController();
  #startsUnderWay = 0;
  #quietFromMs = 0;
  #news = new AbortController();
  #tending: Promise<void> | undefined;

  constructor(deps: WarmMachinesDeps) {
    this.#deps = deps;
  }

  /** To be called when a machine of this kind is wanted; disposed of when it is there, or not to be had. */
  expect(request: WarmRequest): Disposable {
    const nowMs = this.#deps.clock.monotonicMs();
    const kind = this.#kinds.get(request.key);
    const demand = withStart(kind?.demand, nowMs);
    if (kind) kind.demand = demand;
    else this.#kinds.set(request.key, { request, demand, failures: 0, waiting: [] });
    this.#startsUnderWay += 1;
    this.#tell();
    return {
      [Symbol.dispose]: () => {
        this.#startsUnderWay -= 1;
        this.#quietFromMs = this.#deps.clock.monotonicMs() + QUIET_MS;
        this.#tell();
      },
    };
  }

  /** One that waits, from now on the caller's. */
  take(key: string): WaitingMachine | undefined {
    const waiting = this.#kinds.get(key)?.waiting ?? [];
    for (let machine = waiting.shift(); machine; machine = waiting.shift()) {
      if (!machine.ended.aborted) return machine;
    }
    return undefined;
  }

  /** Ends all that wait. */
  async close(): Promise<void> {
    this.#closing.abort(new Error('the machines that wait are ended'));
    this.#tell();
    await this.#tending;
    await Promise.all([...this.#kinds.values()].map((kind) => this.#shrink(kind, 0)));
  }

  /** Something has changed. */
  #tell(): void {
    this.#news.abort();
    this.#news = new AbortController();
    this.#tending ??= this.#tend().finally(() => {
      this.#tending = undefined;
    });
  }

  async #tend(): Promise<void> {
    const { clock } = this.#deps;
    while (this.#kinds.size > 0 && !this.#closing.signal.aborted) {
      const news = this.#news.signal;
      const nowMs = clock.monotonicMs();
      const targets = this.#targets(nowMs);
      for (const [key, kind] of this.#kinds) {
        await this.#shrink(kind, targets.get(key) ?? 0);
        if (isForgotten(kind.demand, nowMs) && kind.waiting.length === 0) this.#kinds.delete(key);
      }
      const lacking = this.#lacking(targets);
      const quietInMs = this.#quietFromMs - clock.monotonicMs();
      if (lacking && quietInMs <= 0) await this.#grow(lacking);
      else await waitAside(clock, lacking ? quietInMs : LOOK_INTERVAL_MS, news);
    }
  }

  #targets(nowMs: number): ReadonlyMap<string, number> {
    const kinds = Array.from(this.#kinds, ([key, { request, demand }]) => {
      const costBytes = machineCost(request.spec.configuration, request.accelerator);
      return { key, costBytes, demand };
    });
    return warmTargets(kinds, nowMs, this.#deps.limitBytes());
  }

  /** A kind of which one more is to be made now. */
  #lacking(targets: ReadonlyMap<string, number>): Kind | undefined {
    if (this.#startsUnderWay > 0) return undefined;
    return [...this.#kinds.values()].find(
      ({ request, failures, waiting }) =>
        failures < ATTEMPTS && waiting.length < (targets.get(request.key) ?? 0),
    );
  }

  async #grow(kind: Kind): Promise<void> {
    const { log, make } = this.#deps;
    const { image } = kind.request.spec;
    try {
      const machine = await make(kind.request, this.#closing.signal);
      if (machine) this.#hold(kind, machine);
      else kind.failures += 1;
    } catch (error) {
      if (this.#closing.signal.aborted) return;
      kind.failures += 1;
      log.warn({ image: image.digest, reason: messageOf(error) }, 'no machine could be made ready');
    }
  }

  #hold(kind: Kind, machine: WaitingMachine): void {
    kind.failures = 0;
    kind.waiting.push(machine);
    const onEnd = () => {
      const index = kind.waiting.indexOf(machine);
      // Otherwise somebody has it, or it was one too many.
      if (index < 0) return;
      kind.waiting.splice(index, 1);
      this.#tell();
    };
    machine.ended.addEventListener('abort', onEnd, { once: true });
    if (machine.ended.aborted) onEnd();
  }

  async #shrink({ waiting }: Kind, length: number): Promise<void> {
    await Promise.all(waiting.splice(length).map((machine) => machine.stop()));
  }
}
