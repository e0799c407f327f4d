/**
 * From samples to figures, each with what has to be known to read it.
 * @module
 */
import { type Figure, type FigureWords, figure, median } from '../figures.ts';
import { type Contest, PROXIES, type ProxyName } from './contest.ts';
import type { SelfTime } from './cpu-profile.ts';
import type { OpenLoopResult } from './open-loop.ts';
import { CONNECTIONS, type LoadSample, type Rounds } from './rounds.ts';

const CPU_PER_REQUEST = {
  name: 'cpu_per_request_vs_nginx',
  unit: 'ratio',
  better: 'lower',
  target: 1,
} as const;
const MB_PER_CPU_SECOND = {
  name: 'mb_per_cpu_second_vs_haproxy',
  unit: 'ratio',
  better: 'higher',
  target: 1,
} as const;
const P99_LATENCY = { name: 'p99_latency_vs_nginx', unit: 'ratio', better: 'lower', target: 1.2 } as const;

/** The figures that have a target. */
export const TARGETS = [CPU_PER_REQUEST, MB_PER_CPU_SECOND, P99_LATENCY] as const;

export type Setting = Pick<Contest, 'versions' | 'cores'> & {
  readonly rounds: number;
  readonly turnSeconds: number;
};

export interface LatencyRounds {
  readonly requestsPerSecond: number;
  readonly proxies: Rounds<OpenLoopResult>;
  /** The same requests to the origin itself. */
  readonly direct: readonly OpenLoopResult[];
  /** Whether the origin never had to wait for the load generator's time slice. */
  readonly runsFirst: boolean;
}

type Value<Sample> = (sample: Sample) => number;

export function requestFigures(setting: Setting, samples: Rounds<LoadSample>): Figure[] {
  const { versions } = setting;
  const cost: Value<LoadSample> = ({ cpuUsPerRequest }) => cpuUsPerRequest;
  const conditions =
    `1 KiB, ${layout(setting)}; ours is ${versions.orilla} with tag, HMAC signature and metrics, nginx has one worker and ` +
    `adds one header; utime and stime of /proc/PID/stat over all processes and threads; ${shares(samples)}`;
  return [
    figure(
      { ...CPU_PER_REQUEST, peer: peer(versions.nginx, samples.nginx, cost, 'us'), conditions },
      ratios(samples, 'nginx', cost),
    ),
    ...absolute(setting, samples, cost, {
      name: 'cpu_per_request',
      unit: 'us',
      better: 'lower',
      conditions: 'of the same turns',
    }),
    ...absolute(setting, samples, ({ requestsPerSecond }) => requestsPerSecond, {
      name: 'requests_per_second',
      unit: '1/s',
      better: 'higher',
      conditions:
        'of the same turns; where a proxy leaves its core idle, the load generator or the origin is the limit',
    }),
  ];
}

export function throughputFigures(setting: Setting, samples: Rounds<LoadSample>): Figure[] {
  const { versions } = setting;
  const yields: Value<LoadSample> = ({ megabytesPerCpuSecond }) => megabytesPerCpuSecond;
  const conditions =
    `1 MiB, ${layout(setting)}; haproxy has one thread and copies (no splicing), nginx has proxy_buffering off; octets ` +
    `that wrk received, 10⁶ to the MB; ${shares(samples)}`;
  return [
    figure(
      { ...MB_PER_CPU_SECOND, peer: peer(versions.haproxy, samples.haproxy, yields, 'MB/s'), conditions },
      ratios(samples, 'haproxy', yields),
    ),
    ...absolute(setting, samples, yields, {
      name: 'mb_per_cpu_second',
      unit: 'MB/s',
      better: 'higher',
      conditions: 'of the same turns',
    }),
  ];
}

export function latencyFigures(setting: Setting, half: LatencyRounds, ownHalf: LatencyRounds): Figure[] {
  const p99: Value<OpenLoopResult> = ({ p99Ms }) => p99Ms;
  const both = (
    words: Pick<FigureWords, 'name'> & Partial<FigureWords>,
    suffix: string,
    rounds: LatencyRounds,
  ) => [
    figure(
      {
        unit: 'ratio',
        better: 'lower',
        ...words,
        peer: peer(setting.versions.nginx, rounds.proxies.nginx, p99, 'ms'),
        conditions: latencyConditions(setting, rounds),
      },
      ratios(rounds.proxies, 'nginx', p99),
    ),
    ...absolute(setting, rounds.proxies, p99, {
      name: `p99_latency${suffix}`,
      unit: 'ms',
      better: 'lower',
      conditions: 'of the same turns',
    }),
  ];
  return [
    ...both(P99_LATENCY, '', half),
    ...both({ name: 'p99_latency_vs_nginx_at_own_half' }, '_at_own_half', ownHalf),
  ];
}

/** Adds to figures where the time went, a line a function. */
export const withProfile = (
  figures: readonly Figure[],
  profiles: Readonly<Record<string, readonly SelfTime[] | undefined>>,
): Figure[] =>
  figures.map((each) => {
    const profile = profiles[each.name];
    if (!profile) return each;
    const lines = profile.map(({ function: name, where, percent }) =>
      `\n    ${percent.toFixed(1).padStart(4)} %  ${name}  ${where}`.trimEnd(),
    );
    return {
      ...each,
      conditions: `${each.conditions}\n  self time in one more turn (node --cpu-prof):${lines.join('')}`,
    };
  });

/** The value of each proxy: ours by the plain name, the others with theirs behind it. */
function absolute<Sample>(
  { versions }: Setting,
  samples: Rounds<Sample>,
  value: Value<Sample>,
  words: FigureWords,
): Figure[] {
  return PROXIES.map((proxy) =>
    figure(
      {
        ...words,
        name: proxy === 'orilla' ? words.name : `${words.name}_${proxy}`,
        conditions: `${versions[proxy]}; ${words.conditions}`,
      },
      samples[proxy].map(value),
    ),
  );
}

/** Ours by the other's, round by round: what disturbed a round disturbed both. */
function ratios<Sample>(samples: Rounds<Sample>, other: ProxyName, value: Value<Sample>): number[] {
  return samples.orilla.flatMap((ours, round) => {
    const theirs = samples[other][round];
    return theirs === undefined ? [] : [value(ours) / value(theirs)];
  });
}

function peer<Sample>(
  name: string,
  samples: readonly Sample[],
  value: Value<Sample>,
  unit: string,
): NonNullable<Figure['peer']> {
  return { name, value: Number(median(samples.map(value)).toPrecision(4)), unit };
}

const layout = ({ versions, cores, rounds, turnSeconds }: Setting): string =>
  `keep-alive, ${CONNECTIONS} connections; proxies on core ${cores.proxies}, one at a time; ${versions.wrk} and the origin ` +
  `(${versions.nginx}, files in memory) on core ${cores.others}; ${rounds} rounds of ${turnSeconds} s a proxy, in turn`;

function shares(samples: Rounds<LoadSample>): string {
  const percent = (share: number) => `${Math.round(share * 100)} %`;
  const had = PROXIES.map(
    (name) => `${name} ${percent(median(samples[name].map((turn) => turn.coreShare)))}`,
  );
  const others = PROXIES.flatMap((name) => samples[name].map((turn) => turn.otherShare));
  return (
    `of the core ${had.join(', ')}, and whatever else ran on this machine ${percent(median(others))} ` +
    `(at most ${percent(Math.max(...others))})`
  );
}

function latencyConditions(
  { cores, versions, rounds, turnSeconds }: Setting,
  latency: LatencyRounds,
): string {
  const { requestsPerSecond, proxies, direct, runsFirst } = latency;
  const all = [...direct, ...PROXIES.flatMap((name) => proxies[name])];
  const ms = (value: number) => `${value.toPrecision(3)} ms`;
  const middle = (samples: readonly OpenLoopResult[], value: Value<OpenLoopResult>) =>
    median(samples.map(value));
  const keptUp = PROXIES.map((name) => {
    const unanswered = proxies[name].reduce((sum, turn) => sum + turn.unanswered, 0);
    const asked = proxies[name].reduce((sum, turn) => sum + turn.requests, 0);
    const answered = Math.round(middle(proxies[name], (turn) => turn.answeredPerSecond));
    const late = unanswered === 0 ? '' : `, ${unanswered} of ${asked} unanswered and counted as of the end`;
    return `${name} answered ${answered} a second${late}`;
  });
  return (
    `${requestsPerSecond} requests a second, 1 KiB, ${CONNECTIONS} connections, from the moment at which each was due, ` +
    `waiting for a connection included; proxies on core ${cores.proxies}, the generator (Node ${process.versions.node}) and ` +
    `the origin (${versions.nginx}${runsFirst ? ', SCHED_FIFO' : ''}) on core ${cores.others}; ${rounds} rounds of ${turnSeconds} s in turn; ` +
    `${keptUp.join('; ')}; without a proxy ${ms(middle(direct, (turn) => turn.p99Ms))}; of all this the generator's own ` +
    `lateness is ${ms(middle(all, (turn) => turn.ownDelayP99Ms))} at p99`
  );
}
