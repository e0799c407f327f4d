/**
 * How fast VMs get their hosts, and how alike the hosts' CPUs are used, at 20,000 hosts and a million VMs; beside the two
 * ways that first come to mind: best fit over all hosts, and two hosts drawn at random.
 *
 * One thread, no store and no network: decisions only. Each of the three has a pool of its own that begins alike, and they take
 * turns. What hosts hold and use is kept apart from what the schedulers believe, and is what is counted.
 * @module
 */
import { setImmediate } from 'node:timers/promises';
import { Placement } from '../src/pool/placement/placement.ts';
import { rebalance } from '../src/pool/placement/rebalance.ts';
import type { Bench, BenchOptions, Measurement } from './figures.ts';
import { TYPICAL_CLAIM } from './scheduler/contracts.ts';
import { Churn } from './scheduler/decisions.ts';
import { type FleetSize, filledFleet, tableSize } from './scheduler/filled-fleet.ts';
import type { Fleet } from './scheduler/fleet.ts';
import { BestFit, type Scheduler, TwoChoices } from './scheduler/peers.ts';
import { PoolLife } from './scheduler/pool-life.ts';
import {
  type Balance,
  balanceFigures,
  type Decisions,
  decisionFigures,
  MOVES,
} from './scheduler/scheduler-figures.ts';
import { seededNumbers } from './support/traffic.ts';

const PLAN = {
  hosts: 20_000,
  zones: 20,
  fullness: 0.95,
  nearlyFull: 0.99,
  rounds: 5,
  decisionsARound: 1_000_000,
  timedARound: 200_000,
  /** Best fit takes some hundred times as long. */
  bestFitDecisions: 10_000,
  warmUpSeconds: 600,
  windows: 3,
  windowSeconds: 100,
};
const SECONDS_A_SAMPLE = 10;

function scaled(scale: number): typeof PLAN {
  const of = (count: number, least: number) => Math.max(least, Math.round(count * scale));
  return {
    ...PLAN,
    hosts: of(PLAN.hosts, 400),
    decisionsARound: of(PLAN.decisionsARound, 2000),
    timedARound: of(PLAN.timedARound, 2000),
    bestFitDecisions: of(PLAN.bestFitDecisions, 500),
    warmUpSeconds: of(PLAN.warmUpSeconds, 60),
    windowSeconds: of(PLAN.windowSeconds, 20),
  };
}

export const bench: Bench = {
  measure: async (options) => {
    const plan = scaled(options.scale);
    const decisions = await measureDecisions(options, plan);
    const balance = await measureBalance(options, plan);
    return {
      figures: [...decisionFigures(plan, decisions), ...balanceFigures(plan, balance)],
      samples: { plan, decisions, balance },
    } satisfies Measurement;
  },
};

interface Contestant {
  readonly scheduler: Scheduler;
  readonly fleet: Fleet;
  readonly random: () => number;
  readonly moves: boolean;
}

type Name = keyof Decisions['rates'];

/** A pool that begins as every other of the same seed and size. */
function contestant(name: Name, seed: number, size: FleetSize): Contestant {
  const random = seededNumbers(seed);
  const maxHosts = tableSize(size);
  const octets = seededNumbers(seed + 1);
  const bytes = (count: number) => Uint8Array.from({ length: count }, () => Math.floor(octets() * 256));
  const scheduler =
    name === 'orilla'
      ? new Placement({ random: { bytes } }, { maxHosts, typicalClaim: TYPICAL_CLAIM })
      : name === 'bestFit'
        ? new BestFit(maxHosts)
        : new TwoChoices(maxHosts, octets);
  return { scheduler, random, fleet: filledFleet(scheduler, random, size), moves: name === 'orilla' };
}

async function measureDecisions(options: BenchOptions, plan: typeof PLAN): Promise<Decisions> {
  const { seed, signal, onProgress } = options;
  const counts = (name: Name, count: number) => (name === 'bestFit' ? plan.bestFitDecisions : count);
  const names = ['orilla', 'twoChoices', 'bestFit'] as const;
  const churns = names.map((name) => ({ name, churn: new Churn(contestant(name, seed, plan), plan) }));
  const nearlyFull = new Churn(contestant('orilla', seed, { ...plan, fullness: plan.nearlyFull }), plan);
  const results: Decisions = {
    vms: churns[0]?.churn.vms ?? 0,
    rates: { orilla: [], twoChoices: [], bestFit: [] },
    timesUs: { orilla: [], twoChoices: [], bestFit: [] },
    nearlyFull: { timesUs: [], refused: 0, decisions: 0 },
    refused: 0,
  };
  // One more round in front, until V8 has compiled what a decision needs.
  for (let round = -1; round < plan.rounds; round += 1) {
    onProgress('decisions', Math.max(0, round), plan.rounds);
    for (const { name, churn } of churns) {
      await setImmediate();
      signal.throwIfAborted();
      const rate = churn.decisionsPerSecond(counts(name, plan.decisionsARound));
      const times = churn.decisionsUs(counts(name, plan.timedARound));
      if (round < 0) continue;
      results.rates[name].push(rate);
      results.timesUs[name].push(summary(times));
    }
    const times = nearlyFull.decisionsUs(plan.timedARound);
    if (round >= 0) results.nearlyFull.timesUs.push(summary(times));
  }
  results.refused = churns[0]?.churn.refused ?? 0;
  results.nearlyFull.refused = nearlyFull.refused;
  results.nearlyFull.decisions = nearlyFull.decisions;
  return results;
}

function summary(times: Float64Array): { p50: number; p99: number; p999: number; max: number } {
  const sorted = times.toSorted();
  const at = (part: number) => sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)] ?? Number.NaN;
  return { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1) };
}

async function measureBalance(options: BenchOptions, plan: typeof PLAN): Promise<Balance[]> {
  const balances: Balance[] = [];
  for (const name of ['orilla', 'withoutMoves', 'twoChoices', 'bestFit'] as const) {
    const one = contestant(name === 'withoutMoves' ? 'orilla' : name, options.seed, plan);
    balances.push(await live(name, one, options, plan));
  }
  return balances;
}

async function live(
  name: Balance['name'],
  { scheduler, fleet, random }: Contestant,
  { signal, onProgress }: BenchOptions,
  plan: typeof PLAN,
): Promise<Balance> {
  const rebalancer = (isMoving: (vm: number) => boolean) =>
    scheduler instanceof Placement
      ? rebalance(scheduler, (host) => fleet.measured(host).filter(({ vm }) => !isMoving(vm)), MOVES)
      : [];
  const life = new PoolLife(
    { scheduler, fleet, random, rebalancer: name === 'orilla' ? rebalancer : undefined },
    { zones: plan.zones, maxHosts: tableSize(plan) },
  );
  const end = plan.warmUpSeconds + plan.windows * plan.windowSeconds;
  const spreads: number[] = [];
  let movedBefore = 0;
  let distances: number[] = [];
  for (let second = 1; second <= end; second += 1) {
    life.second();
    if (second === plan.warmUpSeconds) movedBefore = life.counts.moved;
    if (second % SECONDS_A_SAMPLE !== 0) continue;
    await setImmediate();
    signal.throwIfAborted();
    onProgress(`seconds of a pool's life, ${name}`, second, end);
    if (second <= plan.warmUpSeconds) continue;
    for (const distance of life.distances()) distances.push(Math.abs(distance));
    if ((second - plan.warmUpSeconds) % plan.windowSeconds !== 0) continue;
    spreads.push(summary(Float64Array.from(distances)).p999);
    distances = [];
  }
  const movesPerSecond = (life.counts.moved - movedBefore) / (plan.windows * plan.windowSeconds);
  return { name, spreads, movesPerSecond, counts: life.counts, use: fleet.use };
}
