/**
 * From samples to figures, each with what has to be known to read it.
 * @module
 */
import { type Figure, figure, median, percentile } from '../figures.ts';
import type { Adoption } from './adoption.ts';
import type { Start } from './machine-stage.ts';

const MS = { unit: 'ms', better: 'lower' } as const;
const GUEST = 'TCG; 1 CPU, 192 MiB, image web with the example site, one start at a time';
const ASKED = 'from the call of the hypervisor to the answer to a probe';

export function startFigures(samples: {
  readonly boots: readonly (readonly Start[])[];
  readonly firsts: readonly (readonly Start[])[];
  readonly clones: readonly (readonly Start[])[];
  readonly warm: readonly (readonly Start[])[];
}): Figure[] {
  const { boots, firsts, clones, warm } = samples;
  const firstBytes = (starts: readonly Start[]) => starts.map(({ firstByteMs }) => firstByteMs);
  const each = (runs: readonly (readonly Start[])[], percent: number) =>
    runs.map((run) => percentile(firstBytes(run), percent));
  const bootMs = median(boots.flatMap(firstBytes));
  const peer = { name: 'cold boot', value: Math.round(bootMs), unit: 'ms' };
  const counted = (runs: readonly (readonly Start[])[]) =>
    `${runs.length} runs of ${runs[0]?.length ?? 0}, nearest rank in each`;
  const clone = `${GUEST}; a clone of a template in the page cache, ${ASKED}; ${counted(clones)}`;
  const waiting = `${GUEST}; a machine that waited and was warmed, ${ASKED}; ${counted(warm)}`;
  const phase = (
    name: string,
    conditions: string,
    runs: readonly (readonly Start[])[],
    of: (start: Start) => number,
  ) =>
    figure(
      { ...MS, name, conditions },
      runs.map((run) => median(run.map(of))),
    );
  return [
    figure({ ...MS, name: 'restore_first_byte_p50', target: 120, peer, conditions: clone }, each(clones, 50)),
    figure({ ...MS, name: 'restore_first_byte_p99', target: 400, conditions: clone }, each(clones, 99)),
    figure({ ...MS, name: 'warm_first_byte_p50', target: 80, peer, conditions: waiting }, each(warm, 50)),
    figure({ ...MS, name: 'warm_first_byte_p99', conditions: waiting }, each(warm, 99)),
    phase(
      'restore_prepare_p50',
      'of a clone: until its process is started',
      clones,
      ({ spawnedMs }) => spawnedMs,
    ),
    phase(
      'restore_resume_p50',
      'of a clone: from there until its guest says that it goes on (confinement, QEMU, state)',
      clones,
      ({ spawnedMs, startedMs }) => startedMs - spawnedMs,
    ),
    phase(
      'restore_answer_p50',
      'of a clone: from there to the first answer, nearly all of it translation of code',
      clones,
      ({ startedMs, firstByteMs }) => firstByteMs - startedMs,
    ),
    phase('warm_resume_p50', 'of a warm clone: until its guest goes on', warm, ({ startedMs }) => startedMs),
    figure(
      { ...MS, name: 'boot_first_byte_p50', conditions: `${GUEST}; cold boot, ${ASKED}` },
      each(boots, 50),
    ),
    figure(
      {
        ...MS,
        name: 'first_start_first_byte_p50',
        conditions: `${GUEST}; the first start of an image: it boots, is kept as the template, and goes on as its clone`,
      },
      each(firsts, 50),
    ),
  ];
}

export const memoryFigure = (shareMib: readonly (readonly number[])[]): Figure =>
  figure(
    {
      name: 'clone_pss',
      unit: 'MiB',
      better: 'lower',
      target: 50,
      conditions:
        `${GUEST}; proportional set size of each QEMU (/proc/PID/smaps_rollup) with ${shareMib[0]?.length ?? 0} clones ` +
        'that have answered; the median of them in each run',
    },
    shareMib.map(median),
  );

export function adoptionFigures(adoptions: readonly Adoption[]): Figure[] {
  const sum = (of: (adoption: Adoption) => number) => adoptions.reduce((total, one) => total + of(one), 0);
  const count = adoptions[0]?.vms ?? 0;
  return [
    figure(
      {
        name: 'adopt_50_vms',
        unit: 's',
        better: 'lower',
        target: 2,
        conditions:
          `TCG; ${count} VMs of 1 CPU and 136 MiB; SIGKILL to the control process, then from exec of the next "orilla up" ` +
          `until its API says that all are ready; ${sum(({ kept }) => kept)} of ${sum(({ vms }) => vms)} in the process ` +
          'that they had before',
      },
      adoptions.map(({ readySeconds }) => readySeconds),
    ),
    figure(
      {
        name: 'adoption_connections_lost',
        unit: 'count',
        better: 'lower',
        target: 0,
        conditions:
          `visitors' connections to the gateway, one to each of 5 VMs, that broke meanwhile, or requests on them without a ` +
          `whole answer of the VM, in ${sum(({ requests }) => requests)} requests`,
      },
      [sum(({ connectionsLost, requestsLost }) => connectionsLost + requestsLost)],
    ),
  ];
}
