import { request } from 'node:http';
import { type Clock, deadline } from '../base/index.ts';
import type { Address } from './hypervisor/hypervisor.ts';

/** One look at a guest's HTTP server: true when it answers with a status below 500 within `timeoutMs`. */
export type HttpProbe = (
  clock: Clock,
  address: Address,
  path: string,
  timeoutMs: number,
  signal?: AbortSignal,
) => Promise<boolean>;

export const probeHttp: HttpProbe = (clock, address, path, timeoutMs, signal) =>
  new Promise((resolve) => {
    const probe = request({ ...address, path, agent: false, headers: { 'user-agent': 'orilla-probe' } });
    const timeout = deadline(clock, timeoutMs);
    const bound = signal ? AbortSignal.any([signal, timeout]) : timeout;
    const finish = (answers: boolean) => {
      bound.removeEventListener('abort', onBound);
      probe.destroy();
      resolve(answers);
    };
    const onBound = () => finish(false);
    bound.addEventListener('abort', onBound, { once: true });
    if (bound.aborted) onBound();
    probe.on('response', ({ statusCode = 500 }) => finish(statusCode < 500));
    probe.on('error', () => finish(false));
    probe.end();
  });

/**
 * Probes overlap: a single one with a long timeout that is sent while the guest boots is lost there, and makes a start look as
 * long as its timeout. A guest that was booted long ago answers the first; the next would be in the way of its answer. One
 * that has taken long gets fewer, and more time for each: it may be the host that has none, for any of its guests.
 */
const LEAST_INTERVAL_MS = 150;
const LEAST_TIMEOUT_MS = 400;
const INTERVAL_OF_ELAPSED = 1 / 10;
const TIMEOUT_OF_ELAPSED = 1 / 2;

/** Resolves as soon as one probe is answered; rejects when `signal` aborts first. */
export async function untilReady(
  clock: Clock,
  probe: HttpProbe,
  address: Address,
  path: string,
  signal: AbortSignal,
): Promise<void> {
  const answered = new AbortController();
  const either = AbortSignal.any([signal, answered.signal]);
  const startMs = clock.monotonicMs();
  while (!answered.signal.aborted) {
    signal.throwIfAborted();
    const elapsedMs = clock.monotonicMs() - startMs;
    const timeoutMs = Math.max(LEAST_TIMEOUT_MS, TIMEOUT_OF_ELAPSED * elapsedMs);
    void probe(clock, address, path, timeoutMs, either).then((isReady) => {
      if (isReady) answered.abort();
    });
    const intervalMs = Math.max(LEAST_INTERVAL_MS, INTERVAL_OF_ELAPSED * elapsedMs);
    await clock.sleep(intervalMs, either).catch(() => undefined);
  }
}

/** Emulated, an answer takes some 10 ms of a processor, and there may be hundreds of guests. */
const WATCH_INTERVAL_MS = 5000;
/** After one that did not come. */
const LOOK_AGAIN_MS = 500;
const WATCH_TIMEOUT_MS = 5000;
const MISSES_LIMIT = 3;

/** Resolves with a reason once a guest that was ready did not answer three probes in a row. */
export async function untilUnresponsive(
  clock: Clock,
  probe: HttpProbe,
  address: Address,
  path: string,
  signal: AbortSignal,
): Promise<string> {
  for (let misses = 0; misses < MISSES_LIMIT; ) {
    await clock.sleep(misses === 0 ? WATCH_INTERVAL_MS : LOOK_AGAIN_MS, signal);
    misses = (await probe(clock, address, path, WATCH_TIMEOUT_MS, signal)) ? 0 : misses + 1;
    signal.throwIfAborted();
  }
  return `the guest did not answer ${MISSES_LIMIT} probes in a row`;
}
