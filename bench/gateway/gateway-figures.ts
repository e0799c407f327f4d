/**
 * From samples to figures, each with what has to be known to read it.
 * @module
 */
import { type Figure, type FigureWords, figure, median } from '../figures.ts';
import { type Contest, PROXIES, type ProxyName } from './contest.ts';
import type { SelfTime } from './cpu-profile.ts';
import { CONNECTIONS, H2_CONNECTIONS, H2_STREAMS, type Load } from './load.ts';
import type { OpenLoopResult } from './open-loop.ts';
import type { Protocol } from './peers.ts';
import type { LoadSample, Rounds } from './rounds.ts';
import { TLS_SUITE, TLS_VERSION } from './tls-setting.ts';

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
  readonly warmUpSeconds: number;
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

const COST: Value<LoadSample> = ({ cpuUsPerRequest }) => cpuUsPerRequest;
const YIELD: Value<LoadSample> = ({ megabytesPerCpuSecond }) => megabytesPerCpuSecond;
const OF_THE_SAME_TURNS = 'of the same turns';

export function requestFigures(setting: Setting, samples: Rounds<LoadSample>): Figure[] {
  const { versions } = setting;
  const conditions =
    `1 KiB, ${layout(setting, 'http')}; ours is ${versions.orilla} with one worker, tag, HMAC signature and metrics, nginx ` +
    `has one worker and adds one header; utime and stime of /proc/PID/stat over all processes and threads; ` +
    `${split(samples)}; ${shares(samples)}`;
  return [
    figure(
      { ...CPU_PER_REQUEST, peer: peer(versions.nginx, samples.nginx, COST, 'us'), conditions },
      ratios(samples, 'nginx', COST),
    ),
    ...absolute(setting, samples, COST, {
      name: 'cpu_per_request',
      unit: 'us',
      better: 'lower',
      conditions: OF_THE_SAME_TURNS,
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
  const conditions =
    `1 MiB, ${layout(setting, 'http')}; haproxy has one thread and copies (no splicing), nginx has proxy_buffering off; ` +
    `octets that wrk received, 10⁶ to the MB; ${split(samples)}; ${shares(samples)}`;
  return [
    figure(
      { ...MB_PER_CPU_SECOND, peer: peer(versions.haproxy, samples.haproxy, YIELD, 'MB/s'), conditions },
      ratios(samples, 'haproxy', YIELD),
    ),
    ...absolute(setting, samples, YIELD, {
      name: 'mb_per_cpu_second',
      unit: 'MB/s',
      better: 'higher',
      conditions: OF_THE_SAME_TURNS,
    }),
  ];
}

/** What TLS and HTTP/2 to the client cost. No target: they tell what to expect of a site that has them. */
export function tlsFigures(
  setting: Setting,
  samples: Readonly<Record<'https' | 'h2' | 'largeHttps', Rounds<LoadSample>>>,
): Figure[] {
  const of = (
    { protocol, body }: Load,
    [name, unit, better]: readonly [string, string, Figure['better']],
    value: Value<LoadSample>,
    rounds: Rounds<LoadSample>,
  ): Figure[] => {
    const { versions } = setting;
    const conditions =
      `${body === '1k' ? '1 KiB' : '1 MiB, nginx with proxy_buffering off'}, ${layout(setting, protocol)}; ` +
      `${tlsWords(setting, protocol)}; ${split(rounds)}; ${shares(rounds)}`;
    const words = { name: `${name}_vs_nginx`, unit: 'ratio', better, conditions };
    return [
      figure(
        { ...words, peer: peer(versions.nginx, rounds.nginx, value, unit) },
        ratios(rounds, 'nginx', value),
      ),
      ...absolute(setting, rounds, value, { name, unit, better, conditions: OF_THE_SAME_TURNS }),
    ];
  };
  const { https, h2, largeHttps } = samples;
  return [
    ...of({ protocol: 'https', body: '1k' }, ['cpu_per_request_https', 'us', 'lower'], COST, https),
    ...of({ protocol: 'h2', body: '1k' }, ['cpu_per_request_h2', 'us', 'lower'], COST, h2),
    ...of(
      { protocol: 'https', body: '1m' },
      ['mb_per_cpu_second_https', 'MB/s', 'higher'],
      YIELD,
      largeHttps,
    ),
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
      conditions: OF_THE_SAME_TURNS,
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
    if (profile.length === 0) {
      return { ...each, conditions: `${each.conditions}\n  the gateway's workers left no CPU profile` };
    }
    const lines = profile.map(({ function: name, where, percent }) =>
      `\n    ${percent.toFixed(1).padStart(4)} %  ${name}  ${where}`.trimEnd(),
    );
    return {
      ...each,
      conditions: `${each.conditions}\n  self time of the gateway's workers in one more turn (node --cpu-prof):${lines.join('')}`,
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

function layout(
  { versions, cores, rounds, turnSeconds, warmUpSeconds }: Setting,
  protocol: Protocol,
): string {
  const [generator, connections] =
    protocol === 'h2'
      ? [versions.h2load, `HTTP/2, ${H2_CONNECTIONS} connections with ${H2_STREAMS} streams each`]
      : [versions.wrk, `keep-alive, ${CONNECTIONS} connections`];
  return (
    `${connections}; proxies on core ${cores.proxies}, one at a time; ${generator} and the origin ` +
    `(${versions.nginx}, files in memory) on core ${cores.others}; ${rounds} rounds of ${turnSeconds} s a proxy, in turn, ` +
    `after ${warmUpSeconds} s of the same load each that do not count`
  );
}

const tlsWords = ({ versions }: Setting, protocol: Protocol): string =>
  `${TLS_VERSION} with ${TLS_SUITE} for all, by OpenSSL ${process.versions.openssl} in ours and ${versions.openssl} in the ` +
  `others; one ECDSA P-256 certificate; session tickets as each has them by default; the handshakes of ` +
  `${protocol === 'h2' ? H2_CONNECTIONS : CONNECTIONS} connections are part of each turn; HTTP/1.1 to the origin, without TLS`;

/** How much of the time is the kernel's, which is about the same work for all of them. */
function split(samples: Rounds<LoadSample>): string {
  const us = (name: ProxyName, value: Value<LoadSample>) =>
    median(samples[name].map((turn) => value(turn) / turn.requests)).toPrecision(3);
  const each = PROXIES.map(
    (name) => `${name} ${us(name, ({ userUs }) => userUs)} + ${us(name, ({ systemUs }) => systemUs)}`,
  );
  return `user and system time of a request in us, as sampled by the kernel: ${each.join(', ')}`;
}

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
