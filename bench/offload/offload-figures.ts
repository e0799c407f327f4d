/**
 * From samples to figures, each with what has to be known to read it.
 * @module
 */
import { formatBytes } from '../../src/base/index.ts';
import { type Figure, figure, percentile } from '../figures.ts';
import { MIX_IN_WORDS } from '../support/traffic.ts';
import type { ColdStart } from './cold-starts.ts';
import { ROUND, type Round } from './kills.ts';
import type { FirstBytes, Serving } from './serving.ts';
import { CONCURRENCY } from './stage.ts';

const MS = { unit: 'ms', better: 'lower' } as const;
const COUNT = { unit: 'count', better: 'lower' } as const;
const GUEST = '1 CPU, 192 MiB, image web with the example site';

export function coldStartFigures(samples: {
  readonly stored: readonly (readonly ColdStart[])[];
  readonly fetched: readonly ColdStart[];
  readonly newImage: readonly ColdStart[];
  readonly imageBytes: number;
}): Figure[] {
  const { stored, fetched, newImage, imageBytes } = samples;
  const all = stored.flat();
  const size = formatBytes(imageBytes);
  const each = (starts: readonly ColdStart[], value: (start: ColdStart) => number) => starts.map(value);
  return [
    figure(
      {
        ...MS,
        name: 'first_byte_from_new_vm_p95',
        target: 400,
        conditions:
          `${originsOf(all)}; ${GUEST}, stored on the edge and in its page cache, run here before; from a visitor's request, which the origin ` +
          `holds back until the VM API says ready and redirects, to the head of the VM's answer; ${stored.length} runs ` +
          `of ${stored[0]?.length ?? 0} starts, nearest rank in each`,
      },
      stored.map((run) =>
        percentile(
          each(run, (start) => start.firstByteMs),
          95,
        ),
      ),
    ),
    figure(
      { ...MS, name: 'first_byte_from_new_vm_p50', conditions: `the same ${all.length} starts` },
      each(all, (start) => start.firstByteMs),
    ),
    figure(
      {
        ...MS,
        name: 'first_byte_of_new_image_p50',
        conditions: `the image (${size}) was never here: it is fetched, booted, and its template taken (${originsOf(newImage)})`,
      },
      each(newImage, (start) => start.firstByteMs),
    ),
    figure(
      {
        ...MS,
        name: 'first_byte_from_fetched_vm_p50',
        conditions: `the image (${size}) is fetched over HTTP from the origin on loopback, checked, and written through to the disk first`,
      },
      each(fetched, (start) => start.firstByteMs),
    ),
    figure(
      {
        ...MS,
        name: 'start_fetch_p50',
        conditions: `image (${size}) fetched over HTTP; as the edge tells it`,
      },
      each(fetched, (start) => start.fetchMs),
    ),
    figure(
      {
        ...MS,
        name: 'start_boot_p50',
        conditions: `${GUEST}; spawn to first answered probe, as the edge tells it`,
      },
      each(all, (start) => start.bootMs),
    ),
    figure(
      {
        ...MS,
        name: 'start_total_p50',
        conditions: "image stored; from the origin's POST to its answer 'ready'",
      },
      each(all, (start) => start.loadMs),
    ),
    figure(
      { ...MS, name: 'start_total_fetched_p50', conditions: 'the same, with the image fetched over HTTP' },
      each(fetched, (start) => start.loadMs),
    ),
  ];
}

/** How the machines came to be, and how many of each. */
function originsOf(starts: readonly ColdStart[]): string {
  const origins = [...new Set(starts.map(({ origin }) => origin))];
  return origins
    .map((origin) => `${starts.filter((start) => start.origin === origin).length} by ${origin}`)
    .join(', ');
}

export function servingFigures(samples: {
  readonly serving: readonly Serving[];
  readonly firstBytes: readonly FirstBytes[];
  readonly quietRestartsMs: readonly number[];
}): Figure[] {
  const { serving, firstBytes, quietRestartsMs } = samples;
  const sum = (value: (run: Serving) => number) => serving.reduce((total, run) => total + value(run), 0);
  const requests = sum((run) => run.requests);
  const load = `${MIX_IN_WORDS}, ${CONCURRENCY} at a time`;
  const pairs = `5 KiB page through the gateway, ${firstBytes[0]?.vmMs.length ?? 0} a run from origin and VM in turn, one at a time, visitor's connection kept; ${firstBytes.reduce((total, run) => total + run.strays, 0)} answered by the wrong one`;
  return [
    figure(
      {
        name: 'origin_bytes_after_offload',
        unit: 'bytes',
        better: 'lower',
        target: 0,
        conditions:
          `over all the origin's sockets, both ways, while ${requests} requests are made (${load}), the sum of ${serving.length} runs, so that none is lost in a median; ` +
          `${sum((run) => run.answeredBy.vm)} of ${requests} answered by the VM, ` +
          `${sum((run) => run.originConnections)} connections opened to the origin`,
      },
      [sum((run) => run.originBytes)],
    ),
    figure(
      {
        ...COUNT,
        name: 'requests_failed_by_a_sound_vm',
        target: 0,
        conditions: 'of those, whatever their kind',
      },
      [sum((run) => run.requests - run.verdicts.served)],
    ),
    figure(
      {
        name: 'requests_per_second_from_vm',
        unit: '1/s',
        better: 'higher',
        conditions: `${load}; visitors, origin and edge on the same processors`,
      },
      serving.map((run) => (run.requests / run.durationMs) * 1000),
    ),
    figure(
      {
        ...MS,
        name: 'answer_from_vm_p99',
        conditions: 'of those, until the last byte; nearest rank in each run',
      },
      serving.map((run) => percentile(run.answerMs, 99)),
    ),
    figure(
      { ...MS, name: 'answer_from_vm_max', conditions: 'the slowest of those in each run' },
      serving.map((run) => percentile(run.answerMs, 100)),
    ),
    figure(
      { ...MS, name: 'first_byte_origin_p50', conditions: `${pairs}; origin on loopback, connection kept` },
      firstBytes.map((run) => percentile(run.originMs, 50)),
    ),
    figure(
      {
        ...MS,
        name: 'first_byte_vm_p50',
        conditions: `${pairs}; a new connection and a new process in the guest for each`,
      },
      firstBytes.map((run) => percentile(run.vmMs, 50)),
    ),
    figure(
      {
        ...MS,
        name: 'restart_after_kill_quiet_p50',
        conditions:
          'SIGKILL to ready, seen by a look every 25 ms; no requests; the VM had served the runs above',
      },
      quietRestartsMs,
    ),
  ];
}

export function killFigures(samples: {
  readonly rounds: readonly Round[];
  readonly answerMs: readonly number[];
}): Figure[] {
  const { rounds, answerMs } = samples;
  const sum = (value: (round: Round) => number) => rounds.reduce((total, round) => total + value(round), 0);
  const requests = rounds.length * ROUND.requests;
  const killed = sum((round) => (round.wasKilled ? 1 : 0));
  const inFlight = rounds.map((round) => round.inFlight);
  const during =
    `${requests} requests (${MIX_IN_WORDS}; ${CONCURRENCY} at a time, one each ${ROUND.paceMs} ms while no VM is there), ` +
    `${killed} VMs ended by SIGKILL with ${Math.min(...inFlight)} to ${Math.max(...inFlight)} requests in flight`;
  return [
    figure(
      {
        ...COUNT,
        name: 'replayable_requests_failed',
        target: 0,
        conditions: `${during}; GET and HEAD of whose answer the visitor had no byte, or that the gateway answered with an error of its own`,
      },
      [sum((round) => round.verdicts.replayable)],
    ),
    figure(
      {
        ...COUNT,
        name: 'posts_failed',
        conditions: 'of the same; a form that a VM may have taken is not sent twice',
      },
      [sum((round) => round.verdicts.form)],
    ),
    figure(
      { ...COUNT, name: 'answers_cut', conditions: 'of the same; answers that broke off in the middle' },
      [sum((round) => round.verdicts.cut)],
    ),
    figure(
      {
        ...COUNT,
        name: 'answers_wrong',
        target: 0,
        conditions: 'of the same; whole, but not the octets of the site',
      },
      [sum((round) => round.verdicts.wrong)],
    ),
    figure(
      {
        name: 'requests_rescued',
        unit: 'count',
        better: 'higher',
        conditions: 'of those in flight when a VM was killed: answered well by the origin all the same',
      },
      [sum((round) => round.rescued)],
    ),
    figure({ name: 'answered_by_vm', unit: 'count', better: 'higher', conditions: 'of the same' }, [
      sum((round) => round.answeredBy.vm),
    ]),
    figure({ ...COUNT, name: 'answered_by_origin', conditions: 'of the same' }, [
      sum((round) => round.answeredBy.origin),
    ]),
    figure(
      { name: 'vms_killed', unit: 'count', better: 'higher', target: 50, conditions: 'by SIGKILL to QEMU' },
      [killed],
    ),
    figure(
      {
        ...COUNT,
        name: 'vms_given_up',
        target: 0,
        conditions: 'after starts that failed; the origin had to ask again',
      },
      [sum((round) => round.givenUp)],
    ),
    figure(
      {
        ...MS,
        name: 'restart_after_kill_p50',
        conditions:
          'SIGKILL to ready under the load above, seen by a look every 25 ms; a VM that had served for less than 5 s is ' +
          'started again up to 2 s later, and most had',
      },
      rounds.map((round) => round.killToReadyMs),
    ),
    figure(
      { ...MS, name: 'answer_under_kills_p99', conditions: 'of the same requests, until the last byte' },
      [percentile(answerMs, 99)],
    ),
    figure(
      { ...MS, name: 'answer_under_kills_max', conditions: 'the slowest of a round' },
      rounds.map((round) => round.slowestAnswerMs),
    ),
  ];
}
