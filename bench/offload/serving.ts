import { traffic } from '../support/traffic.ts';
import { type Answerer, answerer, judge, VERDICTS, type Verdict } from '../support/verdict.ts';
import { CONCURRENCY, DIRECT_HOST, SITE_HOST, type Stage, VM_NAME } from './stage.ts';

/** Requests while a VM is there and stays there. */
export interface Serving {
  readonly requests: number;
  readonly answeredBy: Readonly<Record<Answerer, number>>;
  readonly verdicts: Readonly<Record<Verdict, number>>;
  /** Octets over all the origin's sockets, both ways, while they were made. */
  readonly originBytes: number;
  /** Connections that were opened to it meanwhile. */
  readonly originConnections: number;
  readonly durationMs: number;
  /** Of each request, until its last byte. */
  readonly answerMs: readonly number[];
}

export const noAnswers = (): Record<Answerer, number> => ({ origin: 0, vm: 0, nobody: 0 });
export const noVerdicts = (): Record<Verdict, number> =>
  Object.fromEntries(VERDICTS.map((verdict) => [verdict, 0])) as Record<Verdict, number>;

/** Has the mix of requests made, eight at a time, each when one before it is done. */
export async function serveFromVm(stage: Stage, seed: number, count: number): Promise<Serving> {
  const { visitor, origin, site } = stage;
  const requests = traffic(seed, count, SITE_HOST, (prefix) => site.paths(prefix));
  const answeredBy = noAnswers();
  const verdicts = noVerdicts();
  const answerMs: number[] = [];
  const before = { bytes: origin.bytes, connections: origin.connections };
  const startMs = performance.now();
  const waiting = requests[Symbol.iterator]();
  const visit = async () => {
    for (const asked of waiting) {
      const seen = await visitor.ask(asked);
      answeredBy[answerer(site, seen)] += 1;
      verdicts[judge(site, seen)] += 1;
      answerMs.push(seen.totalMs);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, visit));
  return {
    requests: count,
    answeredBy,
    verdicts,
    originBytes: origin.bytes - before.bytes,
    originConnections: origin.connections - before.connections,
    durationMs: performance.now() - startMs,
    answerMs,
  };
}

/** First bytes of the same page from both, in turn, one request at a time. */
export interface FirstBytes {
  readonly originMs: readonly number[];
  readonly vmMs: readonly number[];
  /** Requests that another answered than was to; their times are in neither list. */
  readonly strays: number;
}

export async function compareFirstBytes(stage: Stage, pairs: number): Promise<FirstBytes> {
  const { visitor, site } = stage;
  const originMs: number[] = [];
  const vmMs: number[] = [];
  for (let pair = 0; pair < pairs; pair += 1) {
    for (const [host, by, times] of [
      [DIRECT_HOST, 'origin', originMs],
      [SITE_HOST, 'vm', vmMs],
    ] as const) {
      const seen = await visitor.ask({ method: 'GET', host, path: '/' });
      if (answerer(site, seen) === by && seen.firstByteMs !== undefined) times.push(seen.firstByteMs);
    }
  }
  return { originMs, vmMs, strays: 2 * pairs - originMs.length - vmMs.length };
}

/** Kills the VM while nobody asks anything; resolves with the ms until another one is ready. */
export async function killQuietly({ edge, origin, signal }: Stage): Promise<number> {
  const { pid } = await edge.untilReady(VM_NAME, signal);
  const startMs = performance.now();
  process.kill(pid, 'SIGKILL');
  await edge.untilReady(VM_NAME, signal, { notPid: pid, onGivenUp: () => origin.load() });
  return performance.now() - startMs;
}
