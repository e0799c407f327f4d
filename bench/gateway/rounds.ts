import { runCommand } from '../../src/platform/process/index.ts';
import { type Contest, PROXIES, type Proxy, type ProxyName } from './contest.ts';
import { readCoreTime } from './cpu-time.ts';
import { type OpenLoopResult, openLoopResultSchema } from './open-loop.ts';
import type { ClientOptions } from './open-loop-client.ts';
import { type Body, HOST } from './peers.ts';
import { pinned } from './pinned-program.ts';
import { parseWrk, type WrkSummary, wrkArguments } from './wrk.ts';

export const CONNECTIONS = 64;
/** After the last request was due; long enough for every proxy that can keep up with the rate. */
const DRAIN_MS = 1000;
const WARM_UP_MS = 1000;

/** One turn of one proxy at full load. */
export interface LoadSample extends WrkSummary {
  /** Of the proxy, over the whole turn. */
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
  { port, program, name }: Proxy,
  body: Body,
  seconds: number,
): Promise<LoadSample> {
  const { cores, signal, clock } = contest;
  const url = `http://127.0.0.1:${port}/${body}`;
  const load = { url, host: HOST, connections: CONNECTIONS, seconds, scriptFile: contest.wrkScript };
  const [command, ...args] = pinned(cores.others, [contest.programs.wrk, ...wrkArguments(load)]);
  const before = { atMs: clock.monotonicMs(), cpuUs: program.cpuTimeUs(), core: readCoreTime(cores.proxies) };
  const { stdout } = await runCommand(command, args, { signal, timeoutMs: (seconds + 30) * 1000 });
  const wallUs = (clock.monotonicMs() - before.atMs) * 1000;
  const cpuUs = program.cpuTimeUs() - before.cpuUs;
  const core = readCoreTime(cores.proxies);
  const summary = parseWrk(stdout);
  const { requests, bytes, failed, durationUs } = summary;
  if (failed > 0 || requests === 0) {
    throw new Error(`${name} failed ${failed} requests for /${body} and answered ${requests}`);
  }
  const usedUs = core.busyUs - before.core.busyUs + core.stolenUs - before.core.stolenUs;
  return {
    ...summary,
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
