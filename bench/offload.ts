/**
 * From an origin to a VM at the edge: how long a first visitor waits, what the origin is spared, and what visitors notice
 * when VMs are killed.
 *
 * An origin of the bench's own, `orilla up` with an empty data folder, and the image that `orilla image build web` makes of
 * the example site. What is counted is what the visitors see and what passes the origin's own sockets.
 * @module
 */

import type { Bench, BenchOptions, Measurement } from './figures.ts';
import { type ColdStart, measureColdStarts } from './offload/cold-starts.ts';
import { killUnderLoad } from './offload/kills.ts';
import { coldStartFigures, killFigures, servingFigures } from './offload/offload-figures.ts';
import {
  compareFirstBytes,
  type FirstBytes,
  killQuietly,
  type Serving,
  serveFromVm,
} from './offload/serving.ts';
import { onStage, VM_NAME } from './offload/stage.ts';

const PLAN = {
  coldRuns: 3,
  coldStartsARun: 15,
  fetchedStarts: 10,
  newImageStarts: 5,
  servingRuns: 3,
  requestsARun: 1000,
  pairsARun: 200,
  kills: 50,
};

/** The plan with smaller counts; the number of runs stays. */
function scaled(scale: number): typeof PLAN {
  const of = (count: number) => Math.max(1, Math.round(count * scale));
  return {
    ...PLAN,
    coldStartsARun: of(PLAN.coldStartsARun),
    fetchedStarts: of(PLAN.fetchedStarts),
    newImageStarts: of(PLAN.newImageStarts),
    requestsARun: of(PLAN.requestsARun),
    pairsARun: of(PLAN.pairsARun),
    kills: of(PLAN.kills),
  };
}

export const bench: Bench = {
  measure: (options) => onStage(options, (stage) => measure(stage, options)),
};

async function measure(
  stage: Parameters<Parameters<typeof onStage>[1]>[0],
  { seed, scale }: BenchOptions,
): Promise<Measurement> {
  const plan = scaled(scale);
  const { edge, onProgress } = stage;
  // Fetches the image for the first time, and has the edge find out which accelerator works here.
  const warmUp = await measureColdStarts(stage, 'stored', 1);
  const accelerator = (await edge.vm(VM_NAME))?.accelerator;

  const stored: ColdStart[][] = [];
  for (let run = 0; run < plan.coldRuns; run += 1) {
    stored.push(await measureColdStarts(stage, 'stored', plan.coldStartsARun));
  }
  const fetched = await measureColdStarts(stage, 'fetched', plan.fetchedStarts);
  const newImage = await measureColdStarts(stage, 'new', plan.newImageStarts);

  const serving: Serving[] = [];
  const firstBytes: FirstBytes[] = [];
  const quietRestartsMs: number[] = [];
  for (let run = 0; run < plan.servingRuns; run += 1) {
    onProgress('requests that the VM serves', run, plan.servingRuns);
    serving.push(await serveFromVm(stage, seed + run, plan.requestsARun));
    firstBytes.push(await compareFirstBytes(stage, plan.pairsARun));
    quietRestartsMs.push(await killQuietly(stage));
  }

  const { rounds, answerMs } = await killUnderLoad(stage, seed, plan.kills);
  const imageBytes = stage.imageBytes;
  return {
    accelerator,
    figures: [
      ...coldStartFigures({ stored, fetched, newImage, imageBytes }),
      ...servingFigures({ serving, firstBytes, quietRestartsMs }),
      ...killFigures({ rounds, answerMs }),
    ],
    samples: { plan, warmUp, stored, fetched, newImage, serving, firstBytes, quietRestartsMs, rounds },
  };
}
