/**
 * How many machines to hold ready. A start leaves a trace that fades; as many as its traces add up to are held, so a burst of
 * starts is met by many and a rare one by a single machine. Ten minutes after the last start none is held any more.
 * @module
 */

/** A trace fades to a third in this time. */
const FADING_MS = 60_000;
const FORGOTTEN_AFTER_MS = 600_000;

/** How often machines of one kind were wanted. */
export interface Demand {
  /** What the traces of all starts added up to at the latest one. */
  readonly starts: number;
  readonly latestMs: number;
}

/** A kind of machines that there could be ready. */
export interface WarmKind {
  readonly key: string;
  /** What one of them may take of the host's memory. */
  readonly costBytes: number;
  readonly demand: Demand;
}

export const withStart = (demand: Demand | undefined, nowMs: number): Demand => ({
  starts: (demand ? faded(demand, nowMs) : 0) + 1,
  latestMs: nowMs,
});

/** How many to hold of each kind: one of each first, those that were wanted most before the others, as long as there is room. */
export function warmTargets(
  kinds: readonly WarmKind[],
  nowMs: number,
  limitBytes: number,
): ReadonlyMap<string, number> {
  const targets = new Map<string, number>();
  const byDemand = kinds.toSorted((a, b) => faded(b.demand, nowMs) - faded(a.demand, nowMs));
  let roomBytes = limitBytes;
  for (let round = 1; ; round += 1) {
    const growing = byDemand.filter(({ demand }) => wanted(demand, nowMs) >= round);
    const before = roomBytes;
    for (const { key, costBytes } of growing) {
      if (costBytes > roomBytes) continue;
      roomBytes -= costBytes;
      targets.set(key, (targets.get(key) ?? 0) + 1);
    }
    if (roomBytes === before) return targets;
  }
}

export const isForgotten = ({ latestMs }: Demand, nowMs: number): boolean =>
  nowMs - latestMs >= FORGOTTEN_AFTER_MS;

const wanted = (demand: Demand, nowMs: number): number =>
  isForgotten(demand, nowMs) ? 0 : Math.max(1, Math.ceil(faded(demand, nowMs)));

const faded = ({ starts, latestMs }: Demand, nowMs: number): number =>
  starts * Math.exp((latestMs - nowMs) / FADING_MS);
