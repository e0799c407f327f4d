/**
 * What a machine costs: from nothing to its first byte by boot, as a clone and out of waiting; the memory of a further clone;
 * and how soon fifty machines are taken over by the next process when theirs was killed.
 *
 * Starts are asked of the hypervisor itself, with the image that `orilla image build web` makes of the example site; for the
 * takeover there is `orilla up`, in a process of its own.
 * @module
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CloseStack, messageOf, systemClock } from '../src/base/index.ts';
import type { Bench, BenchOptions, Measurement } from './figures.ts';
import { type Adoption, measureAdoption } from './pool/adoption.ts';
import { MachineStage, type Start } from './pool/machine-stage.ts';
import { adoptionFigures, memoryFigure, startFigures } from './pool/pool-figures.ts';
import { buildSiteImage } from './support/site-image.ts';

const PLAN = { runs: 3, boots: 2, clonesARun: 40, warmARun: 20, clonesAtOnce: 10, adoptions: 3, vms: 50 };

/** The plan with smaller counts; the number of runs stays. */
function scaled(scale: number): typeof PLAN {
  const of = (count: number) => Math.max(1, Math.round(count * scale));
  return { ...PLAN, clonesARun: of(40), warmARun: of(20), adoptions: of(3), vms: of(50) };
}

export const bench: Bench = { measure };

async function measure(options: BenchOptions): Promise<Measurement> {
  const { signal, onProgress } = options;
  const plan = scaled(options.scale);
  const clock = systemClock;
  const parts = new CloseStack(clock, 60_000);
  try {
    const folder = await mkdtemp(join(tmpdir(), 'o-'));
    parts.defer('folder', () => rm(folder, { recursive: true, force: true }));
    onProgress('building the VM image');
    const imageFolder = join(folder, 'image');
    await buildSiteImage(imageFolder, 'site', signal);

    const stage = await MachineStage.open(clock, folder, imageFolder, signal);
    parts.add('machines', stage);
    const boots: Start[][] = [];
    const firsts: Start[][] = [];
    const clones: Start[][] = [];
    const warm: Start[][] = [];
    const shareMib: number[][] = [];
    for (let run = 0; run < plan.runs; run += 1) {
      onProgress('machines', run, plan.runs);
      boots.push(await stage.boot(plan.boots));
      firsts.push(await stage.startFirst(plan.boots));
      clones.push(await stage.clone(plan.clonesARun));
      warm.push(await stage.takeWarm(plan.warmARun));
      shareMib.push(await stage.memoryShares(plan.clonesAtOnce));
    }
    await stage.close();

    const adoptions: Adoption[] = [];
    for (let run = 0; run < plan.adoptions; run += 1) {
      onProgress('takeovers', run, plan.adoptions);
      adoptions.push(await measureAdoption(clock, join(folder, `edge${run}`), imageFolder, plan.vms, signal));
    }
    return {
      accelerator: 'tcg',
      figures: [
        ...startFigures({ boots, firsts, clones, warm }),
        memoryFigure(shareMib),
        ...adoptionFigures(adoptions),
      ],
      samples: { plan, boots, firsts, clones, warm, shareMib, adoptions },
    };
  } finally {
    onProgress('cleaning up');
    await parts.close().catch((error: unknown) => console.error(`bench: ${messageOf(error)}`));
  }
}
