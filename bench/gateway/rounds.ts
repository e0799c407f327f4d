import { runCommand } from '../../src/platform/process/index.ts';
import { type Contest, PROXIES, type Proxy, type ProxyName } from './contest.ts';
import { type CpuTime, readCoreTime } from './cpu-time.ts';
import { CONNECTIONS, generateLoad, type Load } from './load.ts';
import type { LoadSummary } from './load-summary.ts';
import { type OpenLoopResult, openLoopResultSchema } from './open-loop.ts';
import type { ClientOptions } from './open-loop-client.ts';
import { HOST } from './peers.ts';
import { pinned } from './pinned-program.ts';

/** After the last request was due; long enough for every proxy that can keep up with the rate. */
const DRAIN_MS = 1000;
const WARM_UP_MS = 1000;

/** One turn of one proxy at full load. */
export interface LoadSample extends LoadSummary, CpuTime {
  /** Of the proxy, over the whole turn: `userUs` and `systemUs` together. */
  readonly cpuUs: number;
  readonly cpuUsPerRequest: number;
  readonly megabytesPerCpuSecond: number;
  readonly requestsPerSecond: number;
  /** How much of its core the proxy had, and how much went to anything else, the hypervisor included. */
  readonly coreShare: number;
  readonly otherShare: number;
}

export type Rounds<Sample> = Readonly<Record<ProxyName, readonly Sample[]>>;

/** Has one proxy after the other take its turn, `rounds` times; what disturbs a while disturbs all of them. */
export async function inTurn<Sample>(
  contest: Contest,
  label: string,
  rounds: number,
  takeTurn: (proxy: Proxy) => Promise<Sample>,
): Promise<Rounds<Sample>> {
  const samples: Record<ProxyName, Sample[]> = { orilla: [], nginx: [], haproxy: [] };
  for (let round = 0; round < rounds; round += 1) {
    for (const [index, name] of PROXIES.entries()) {
      contest.onProgress(label, round * PROXIES.length + index, rounds * PROXIES.length);
      samples[name].push(await takeTurn(contest.proxies[name]));
    }
  }
  return samples;
}

/** As many requests as the proxy answers. */
export async function fullLoad(
  contest: Contest,
  proxy: Proxy,
  load: Load,
  seconds: number,
): Promise<LoadSample> {
  const { cores, clock } = contest;
  const { name, program } = proxy;
  const before = { atMs: clock.monotonicMs(), cpu: program.cpuTime(), core: readCoreTime(cores.proxies) };
  const summary = await generateLoad(contest, proxy, load, seconds);
  const wallUs = (clock.monotonicMs() - before.atMs) * 1000;
  const cpu = program.cpuTime();
  const core = readCoreTime(cores.proxies);
  const userUs = cpu.userUs - before.cpu.userUs;
  const systemUs = cpu.systemUs - before.cpu.systemUs;
  const cpuUs = userUs + systemUs;
  const { requests, bytes, failed, durationUs } = summary;
  if (failed > 0 || requests === 0) {
    const { protocol, body } = load;
    throw new Error(
      `${name} failed ${failed} requests for /${body} over ${protocol}, and answered ${requests}`,
    );
  }
  const usedUs = core.busyUs - before.core.busyUs + core.stolenUs - before.core.stolenUs;
  return {
    ...summary,
    userUs,
    systemUs,
    cpuUs,
    cpuUsPerRequest: cpuUs / requests,
    megabytesPerCpuSecond: bytes / cpuUs,
    requestsPerSecond: (requests / durationUs) * 1e6,
    coreShare: cpuUs / wallUs,
    otherShare: Math.max(0, usedUs - cpuUs) / wallUs,
  };
}

/** Requests for the small body at a constant rate, to a proxy or to the origin itself. */
export async function constantRate(
  { cores, signal, origin }: Contest,
  port: number,
  requestsPerSecond: number,
  seconds: number,
): Promise<OpenLoopResult> {
  const options: ClientOptions = {
    port,
    host: HOST,
    path: '/1k',
    requestsPerSecond,
    durationMs: seconds * 1000,
    connections: CONNECTIONS,
    drainMs: DRAIN_MS,
    // Not through the proxy: one that cannot keep up would still be busy with it.
    warmUp: { port: origin.port, durationMs: WARM_UP_MS },
  };
  const client = `${import.meta.dirname}/open-loop-client.ts`;
  const [command, ...args] = pinned(cores.others, [process.execPath, client, JSON.stringify(options)]);
  const { stdout } = await runCommand(command, args, { signal, timeoutMs: (seconds + 30) * 1000 });
  return openLoopResultSchema.parse(JSON.parse(stdout));
}
