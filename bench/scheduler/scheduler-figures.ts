/**
 * From samples to figures, each with what has to be known to read it.
 * @module
 */
import { type Figure, figure, median } from '../figures.ts';
import { HOSTS_IN_WORDS, SIZES_IN_WORDS } from './contracts.ts';
import type { Rate } from './decisions.ts';
import { LIFE, type PoolLife } from './pool-life.ts';
import { DRIFT_SPREAD, MEMORY_SECONDS, OWN_SPREAD } from './vm-loads.ts';

/** When VMs are moved, and how many in a second at the most. */
export const MOVES = { maxMoves: 100, hotBand: 0.03, coolBand: 0.02 } as const;

interface Times {
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

type ByName<Value> = Readonly<Record<'orilla' | 'twoChoices' | 'bestFit', Value>>;

export interface Decisions {
  readonly vms: number;
  readonly rates: ByName<Rate[]>;
  readonly timesUs: ByName<Times[]>;
  readonly nearlyFull: { timesUs: Times[]; refused: number; decisions: number };
  refused: number;
}

export interface Balance {
  readonly name: 'orilla' | 'withoutMoves' | 'twoChoices' | 'bestFit';
  /** Of each window. */
  readonly spreads: readonly number[];
  readonly movesPerSecond: number;
  readonly counts: PoolLife['counts'];
  /** Mean use of the hosts' CPUs at the end. */
  readonly use: number;
}

interface Plan {
  readonly hosts: number;
  readonly zones: number;
  readonly fullness: number;
  readonly nearlyFull: number;
  readonly timedARound: number;
  readonly warmUpSeconds: number;
  readonly windowSeconds: number;
}

const BEST_FIT = 'best fit over all hosts';
const US = { unit: 'us', better: 'lower' } as const;
const PER_SECOND = { unit: '1/s', better: 'higher' } as const;

export function decisionFigures(
  plan: Plan,
  { vms, rates, timesUs, nearlyFull, refused }: Decisions,
): Figure[] {
  const pool = `${plan.hosts} hosts (${HOSTS_IN_WORDS}) in ${plan.zones} zones, ${vms} VMs (${SIZES_IN_WORDS}), ${plan.fullness * 100} % of the memory taken`;
  const one = 'each decision by itself with process.hrtime (its own 0.1 us included): place and commit';
  const perCpuSecond = (list: readonly Rate[]) => list.map((rate) => rate.perCpuSecond);
  const p99 = (times: readonly Times[]) => times.map((time) => time.p99);
  return [
    figure(
      {
        ...PER_SECOND,
        name: 'decisions_per_second',
        target: 1_000_000,
        peer: { name: BEST_FIT, value: Math.round(median(perCpuSecond(rates.bestFit))), unit: '1/s' },
        conditions: `one thread, no store; a second of processor time, as the kernel accounts it for the process (by the clock ${Math.round(median(rates.orilla.map((rate) => rate.perSecond)))}); ${pool}; a VM ends (release) and another comes (place, commit, started), half of them with their state on the host of the one that ended; 256 at a stretch between two readings of the clock; ${refused} found no place`,
      },
      perCpuSecond(rates.orilla),
    ),
    figure(
      {
        ...PER_SECOND,
        name: 'decisions_per_second_two_choices',
        conditions:
          'a peer: draws hosts until two have room and takes the cooler, whatever zone and state; the same pool, in turn',
      },
      perCpuSecond(rates.twoChoices),
    ),
    figure(
      {
        ...US,
        name: 'decision_p99',
        target: 50,
        peer: { name: BEST_FIT, value: Number(median(p99(timesUs.bestFit)).toPrecision(4)), unit: 'us' },
        conditions: `of ${plan.timedARound} a run, ${one}; median of p50 ${words(timesUs.orilla, 'p50')}, of p99.9 ${words(timesUs.orilla, 'p999')}, of the longest ${words(timesUs.orilla, 'max')}`,
      },
      p99(timesUs.orilla),
    ),
    figure(
      { ...US, name: 'decision_p99_two_choices', conditions: 'a peer, in turn' },
      p99(timesUs.twoChoices),
    ),
    figure(
      {
        ...US,
        name: 'decision_p99_nearly_full',
        conditions: `${plan.nearlyFull * 100} % of the memory taken, so that VMs find no place: ${nearlyFull.refused} of ${nearlyFull.decisions}; median of p99.9 ${words(nearlyFull.timesUs, 'p999')}`,
      },
      p99(nearlyFull.timesUs),
    ),
  ];
}

const words = (times: readonly Times[], key: keyof Times): string =>
  `${Number(median(times.map((time) => time[key])).toPrecision(3))} us`;

export function balanceFigures(plan: Plan, balances: readonly Balance[]): Figure[] {
  const of = (name: Balance['name']) => balances.find((balance) => balance.name === name);
  const ours = of('orilla');
  const bestFit = of('bestFit');
  if (!ours || !bestFit) return [];
  const { counts } = ours;
  const load =
    `each VM's use of its CPUs log-normal (deviations ${OWN_SPREAD} of its own, ${DRIFT_SPREAD} that drifts within ${MEMORY_SECONDS} s), ` +
    `all together ±${LIFE.dayAmplitude * 100} % within ${LIFE.daySeconds} s; VMs live ${LIFE.vmHours} h on average; a host lost each ${LIFE.lossEverySeconds} s; ` +
    `hosts measure each ${LIFE.reportEverySeconds} s, which is known ${LIFE.reportAgeSeconds} s later`;
  const spread = { unit: 'fraction', better: 'lower' } as const;
  const peers = [
    ['withoutMoves', 'cpu_balance_spread_without_moves', 'our placement alone'],
    ['twoChoices', 'cpu_balance_spread_two_choices', 'a peer; moves no VM'],
  ] as const;
  return [
    figure(
      {
        ...spread,
        name: 'cpu_balance_spread',
        target: 0.05,
        peer: { name: BEST_FIT, value: Number(median(bestFit.spreads).toPrecision(4)), unit: 'fraction' },
        conditions:
          `simulated; p99.9 over hosts up for ${LIFE.settledAfterSeconds} s and moments 10 s apart of what a host uses of its CPUs at that moment, less the mean (at the end ${ours.use.toFixed(2)}); ` +
          `a run is ${plan.windowSeconds} s, the first after ${plan.warmUpSeconds} s that began with VMs spread at random; ${load}; with the moves below`,
      },
      ours.spreads,
    ),
    ...peers.map(([name, label, about]) =>
      figure(
        { ...spread, name: label, conditions: `${about}; the same pool and load` },
        of(name)?.spreads ?? [],
      ),
    ),
    figure(
      {
        ...PER_SECOND,
        better: 'lower',
        name: 'moves_per_second',
        conditions: `VMs moved live, of ${MOVES.maxMoves} at the most, each for 1 s and 1 s a GiB; from hosts ${MOVES.hotBand * 100} points above the mean, and ${MOVES.coolBand * 100} below and full`,
      },
      [ours.movesPerSecond],
    ),
    figure(
      {
        unit: 'fraction',
        better: 'higher',
        name: 'returned_to_state',
        conditions: `of ${counts.returned} VMs whose state's host was there; the others came back elsewhere, because it was full or hot`,
      },
      counts.returned === 0 ? [] : [counts.atState / counts.returned],
    ),
    figure(
      {
        unit: 'count',
        better: 'lower',
        name: 'vms_without_place',
        target: 0,
        conditions: `of ${counts.arrived} that came and ${counts.lost} from lost hosts`,
      },
      [counts.refused + counts.lost - counts.cameBack],
    ),
  ];
}
