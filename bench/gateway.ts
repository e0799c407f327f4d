/**
 * What a request costs at the gateway, and how long it is under way there, beside nginx and haproxy.
 *
 * `orilla up` with one origin and no VM, so that every request is tagged, signed and counted; nginx and haproxy add one
 * header. All proxies take turns on one core; the load generators and the origin, an nginx with files in memory, have
 * another. Processor time is the kernel's account, requests and octets are what the load generators count.
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
  withProfile,
} from './gateway/gateway-figures.ts';
import type { OpenLoopResult } from './gateway/open-loop.ts';
import type { Body } from './gateway/peers.ts';
import { constantRate, fullLoad, inTurn } from './gateway/rounds.ts';

const ROUNDS = 5;
const TURN_SECONDS = 4;
const WARM_UP_SECONDS = 2;
const PROFILE_LINES = 12;

export const bench: Bench = {
  measure: (options) => onContest(options, (contest) => measure(contest, options), cannot),
};

async function measure(contest: Contest, { scale }: BenchOptions): Promise<Measurement> {
  // wrk counts in whole seconds.
  const turnSeconds = Math.max(1, Math.round(TURN_SECONDS * scale));
  const warmUpSeconds = Math.max(1, Math.round(WARM_UP_SECONDS * scale));
  const setting = { ...contest, rounds: ROUNDS, turnSeconds };
  const atFullLoad = async (body: Body, label: string) => {
    await inTurn(contest, `warming up, ${label}`, 1, (proxy) =>
      fullLoad(contest, proxy, body, warmUpSeconds),
    );
    return inTurn(contest, `full load, ${label}`, ROUNDS, (proxy) =>
      fullLoad(contest, proxy, body, turnSeconds),
    );
  };
  const small = await atFullLoad('1k', '1 KiB');
  const large = await atFullLoad('1m', '1 MiB');

  const maximum = (name: keyof typeof small) => median(small[name].map((turn) => turn.requestsPerSecond));
  const atRate = async (requestsPerSecond: number, label: string): Promise<LatencyRounds> => {
    const ask = (port: number) => constantRate(contest, port, requestsPerSecond, turnSeconds);
    const direct: OpenLoopResult[] = [];
    const proxies = await inTurn(contest, label, ROUNDS, async ({ name, port }) => {
      // The origin by itself, once a round: the part of the latency that is no proxy's.
      if (name === 'orilla') direct.push(await ask(contest.origin.port));
      return ask(port);
    });
    return { requestsPerSecond, proxies, direct, runsFirst };
  };
  const runsFirst = await contest.origin.program.runFirst();
  const half = await atRate(Math.round(maximum('nginx') / 2), "half of nginx's maximum");
  const ownHalf = await atRate(Math.round(maximum('orilla') / 2), 'half of our own maximum');

  const figures = [
    ...requestFigures(setting, small),
    ...throughputFigures(setting, large),
    ...latencyFigures(setting, half, ownHalf),
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
    await fullLoad(contest, proxy, body, warmUpSeconds);
    // The clock of V8's profiles.
    const nowUs = () => Number(process.hrtime.bigint() / 1000n);
    window.fromUs = nowUs();
    await fullLoad(contest, proxy, body, turnSeconds);
    window.toUs = nowUs();
  });
  return topSelfTimes(profiles, window, PROFILE_LINES, ROOT);
}

/** Every figure without a value, and why. */
function cannot(reason: string): Measurement {
  const figures = TARGETS.map((words) => figure({ ...words, conditions: `not measured: ${reason}` }, []));
  return { figures, samples: {} };
}
