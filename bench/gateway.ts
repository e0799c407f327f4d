/**
 * What a request costs at the gateway by HTTP/1.1, HTTPS and HTTP/2, and how long it is under way there, beside nginx and
 * haproxy.
 *
 * `orilla up` with one origin and no VM, so that every request is tagged, signed and counted; nginx and haproxy add one
 * header. All proxies take turns on one core, with one worker each; the load generators and the origin, an nginx with files
 * in memory, have another. Processor time is the kernel's account, requests and octets are what the load generators count.
 * @module
 */
import { type Bench, type BenchOptions, figure, isMet, type Measurement, median } from './figures.ts';
import { type Contest, onContest, ROOT } from './gateway/contest.ts';
import { type SelfTime, topSelfTimes } from './gateway/cpu-profile.ts';
import {
  type LatencyRounds,
  latencyFigures,
  requestFigures,
  TARGETS,
  throughputFigures,
  tlsFigures,
  withProfile,
} from './gateway/gateway-figures.ts';
import type { Load } from './gateway/load.ts';
import type { OpenLoopResult } from './gateway/open-loop.ts';
import type { Body } from './gateway/peers.ts';
import { constantRate, fullLoad, inTurn } from './gateway/rounds.ts';

const ROUNDS = 5;
const TURN_SECONDS = 4;
/**
 * Until V8 has compiled what a request needs: beside nginx, turn by turn, ours was level after 2 s by HTTP/1.1 and after about
 * 6 s by HTTPS and HTTP/2, as far as two starts each on a shared machine tell. More than that, because they tell it coarsely.
 */
const WARM_UP_SECONDS = 10;
const PROFILE_LINES = 12;

export const bench: Bench = {
  measure: (options) => onContest(options, (contest) => measure(contest, options), cannot),
};

async function measure(contest: Contest, { scale }: BenchOptions): Promise<Measurement> {
  // wrk counts in whole seconds.
  const turnSeconds = Math.max(1, Math.round(TURN_SECONDS * scale));
  const warmUpSeconds = Math.max(1, Math.round(WARM_UP_SECONDS * scale));
  const setting = { ...contest, rounds: ROUNDS, turnSeconds, warmUpSeconds };
  const atFullLoad = async (load: Load, label: string) => {
    await inTurn(contest, `warming up, ${label}`, 1, (proxy) =>
      fullLoad(contest, proxy, load, warmUpSeconds),
    );
    return inTurn(contest, `full load, ${label}`, ROUNDS, (proxy) =>
      fullLoad(contest, proxy, load, turnSeconds),
    );
  };
  const small = await atFullLoad({ protocol: 'http', body: '1k' }, '1 KiB');
  const large = await atFullLoad({ protocol: 'http', body: '1m' }, '1 MiB');

  const maximum = (name: keyof typeof small) => median(small[name].map((turn) => turn.requestsPerSecond));
  const atRate = async (requestsPerSecond: number, label: string): Promise<LatencyRounds> => {
    const ask = (port: number) => constantRate(contest, port, requestsPerSecond, turnSeconds);
    const direct: OpenLoopResult[] = [];
    const proxies = await inTurn(contest, label, ROUNDS, async ({ name, ports }) => {
      // The origin by itself, once a round: the part of the latency that is no proxy's.
      if (name === 'orilla') direct.push(await ask(contest.origin.port));
      return ask(ports.http);
    });
    return { requestsPerSecond, proxies, direct, runsFirst };
  };
  const runsFirst = await contest.origin.program.runFirst();
  const half = await atRate(Math.round(maximum('nginx') / 2), "half of nginx's maximum");
  const ownHalf = await atRate(Math.round(maximum('orilla') / 2), 'half of our own maximum');
  // Last: what comes before them is measured as on a gateway whose clients use no TLS.
  const tls = {
    https: await atFullLoad({ protocol: 'https', body: '1k' }, '1 KiB by HTTPS'),
    h2: await atFullLoad({ protocol: 'h2', body: '1k' }, '1 KiB by HTTP/2'),
    largeHttps: await atFullLoad({ protocol: 'https', body: '1m' }, '1 MiB by HTTPS'),
  };

  const figures = [
    ...requestFigures(setting, small),
    ...throughputFigures(setting, large),
    ...latencyFigures(setting, half, ownHalf),
    ...tlsFigures(setting, tls),
  ];
  const isShort = (name: string) => figures.some((each) => each.name === name && isMet(each) === false);
  const profile: Partial<Record<Body, SelfTime[]>> = {};
  if (isShort('cpu_per_request_vs_nginx') || isShort('p99_latency_vs_nginx')) {
    profile['1k'] = await takeProfile(contest, '1k', warmUpSeconds, turnSeconds);
  }
  if (isShort('mb_per_cpu_second_vs_haproxy')) {
    profile['1m'] = await takeProfile(contest, '1m', warmUpSeconds, turnSeconds);
  }
  return {
    figures: withProfile(figures, {
      cpu_per_request_vs_nginx: profile['1k'],
      mb_per_cpu_second_vs_haproxy: profile['1m'],
    }),
    samples: {
      versions: contest.versions,
      cores: contest.cores,
      turnSeconds,
      small,
      large,
      half,
      ownHalf,
      tls,
      profile,
    },
  };
}

/** One more turn, of a gateway that records where its time goes; what happens before it is warm is left out. */
async function takeProfile(
  contest: Contest,
  body: Body,
  warmUpSeconds: number,
  turnSeconds: number,
): Promise<SelfTime[]> {
  contest.onProgress(`recording where the time goes, ${body}`);
  const window = { fromUs: 0, toUs: 0 };
  const profiles = await contest.profiled(async (proxy) => {
    const load = { protocol: 'http', body } as const;
    await fullLoad(contest, proxy, load, warmUpSeconds);
    // The clock of V8's profiles.
    const nowUs = () => Number(process.hrtime.bigint() / 1000n);
    window.fromUs = nowUs();
    await fullLoad(contest, proxy, load, turnSeconds);
    window.toUs = nowUs();
  });
  return topSelfTimes(profiles, window, PROFILE_LINES, ROOT);
}

/** Every figure without a value, and why. */
function cannot(reason: string): Measurement {
  const figures = TARGETS.map((words) => figure({ ...words, conditions: `not measured: ${reason}` }, []));
  return { figures, samples: {} };
}
