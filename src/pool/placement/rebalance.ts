import type { Claim } from './claim.ts';
import type { HostNumber } from './host-table.ts';
import type { Placement } from './placement.ts';

/** A VM, what it holds, and what it was last measured to use. */
export interface MeasuredVm<Vm> {
  readonly vm: Vm;
  readonly claim: Claim;
  readonly usedMilliCpus: number;
}

export interface Move<Vm> {
  readonly vm: Vm;
  /** What is committed at `to`, and leaving at `from`. */
  readonly claim: Claim;
  readonly from: HostNumber;
  readonly to: HostNumber;
}

export interface RebalanceOptions {
  readonly maxMoves: number;
  /** By how much more than the mean a host may use, as a part of its CPUs, before it is hot; by how much less, before it is cool. */
  readonly hotBand: number;
  readonly coolBand: number;
}

/** VMs of a host that are tried, the best first. */
const MAX_TRIED = 4;

/**
 * The moves that help most against hosts whose CPUs are used more or less than the others' [desktop D15]. From a hot host goes
 * a VM that uses much; from a cool one without room one that uses little, so that VMs that use more can come.
 *
 * Each move is noted in the placement, as coming and as leaving. Whoever carries it out says how it went on: `started` at its
 * target and `release` at its source.
 *
 * @param vmsOn the VMs of a host that may be moved: not those that are under way.
 */
export function rebalance<Vm>(
  placement: Placement,
  vmsOn: VmsOn<Vm>,
  { maxMoves, hotBand, coolBand }: RebalanceOptions,
): Move<Vm>[] {
  const moves: Move<Vm>[] = [];
  for (const from of placement.outside(hotBand, coolBand)) {
    if (moves.length >= maxMoves) break;
    const excess = placement.use(from) - placement.meanUse;
    // A move before this one may have helped it already.
    if (excess <= hotBand && -excess <= coolBand) continue;
    const move = excess > 0 ? relieve(placement, vmsOn, from) : makeRoom(placement, vmsOn, from);
    if (!move) continue;
    placement.commit(move.to, move.claim);
    placement.leaving(move.from, move.claim);
    moves.push(move);
  }
  return moves;
}

type VmsOn<Vm> = (host: HostNumber) => Iterable<MeasuredVm<Vm>>;

/** From a hot host to a cool one. */
function relieve<Vm>(placement: Placement, vmsOn: VmsOn<Vm>, from: HostNumber): Move<Vm> | undefined {
  const excess = placement.excessMilliCpus(from);
  const limit = placement.meanUse + (placement.use(from) - placement.meanUse) / 2;
  const zone = placement.zoneOf(from);
  for (const { vm, claim } of busiest(placement, vmsOn(from), from, excess)) {
    const to = placement.place({ claim, zone }).host;
    if (to === undefined || to === from || placement.use(to, claim.expectedMilliCpus) > limit) continue;
    return { vm, claim, from, to };
  }
  return undefined;
}

/** From a cool host that is full to one where little use does no harm. */
function makeRoom<Vm>(placement: Placement, vmsOn: VmsOn<Vm>, from: HostNumber): Move<Vm> | undefined {
  if (placement.hasRoom(from)) return undefined;
  const idleFirst = ranked(vmsOn(from), (one) => usualUse(placement, from, one) - one.usedMilliCpus);
  for (const { vm, claim } of idleFirst) {
    const to = placement.placeIdle(claim, placement.zoneOf(from));
    if (to !== undefined && to !== from) return { vm, claim, from, to };
  }
  return undefined;
}

/** Those first that use about as much as wanted, and little memory for it; none that uses twice as much. */
const busiest = <Vm>(
  placement: Placement,
  vms: Iterable<MeasuredVm<Vm>>,
  host: HostNumber,
  wantedMilliCpus: number,
): MeasuredVm<Vm>[] =>
  ranked(
    vms,
    (one) =>
      Math.min(one.usedMilliCpus, 2 * wantedMilliCpus - one.usedMilliCpus) - usualUse(placement, host, one),
  );

/** What VMs of its size use on average. */
function usualUse<Vm>(placement: Placement, host: HostNumber, { claim }: MeasuredVm<Vm>): number {
  const { milliCpus, memoryBytes } = placement.sizeOf(host);
  return (placement.meanUse * milliCpus * claim.memoryBytes) / memoryBytes;
}

/** The few that gain most, if they gain at all, claiming what they are measured to use. */
const ranked = <Vm>(vms: Iterable<MeasuredVm<Vm>>, gain: (vm: MeasuredVm<Vm>) => number): MeasuredVm<Vm>[] =>
  [...vms]
    .map((one) => ({ one, gained: gain(one) }))
    .filter(({ gained }) => gained > 0)
    .sort((one, other) => other.gained - one.gained)
    .slice(0, MAX_TRIED)
    .map(({ one: { vm, claim, usedMilliCpus } }) => ({
      vm,
      claim: { ...claim, expectedMilliCpus: Math.round(usedMilliCpus) },
      usedMilliCpus,
    }));
