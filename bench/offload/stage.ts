import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Clock, CloseStack, messageOf, systemClock } from '../../src/base/index.ts';
import type { BenchOptions } from '../figures.ts';
import { CountedOrigin } from '../support/counted-origin.ts';
import { EdgeUnderTest } from '../support/edge-under-test.ts';
import { Site } from '../support/site.ts';
import { buildSiteImage, SITE_FOLDER } from '../support/site-image.ts';
import { Visitor } from '../support/visitor.ts';

export const VM_NAME = 'photos';
/** Offloaded to a VM as soon as there is one. */
export const SITE_HOST = 'photos.localhost';
/** The same origin by another name, never offloaded. */
export const DIRECT_HOST = 'direct.localhost';
/** Requests at a time, each on a connection of its own. */
export const CONCURRENCY = 8;

/** Everything that takes part: an origin, an edge that was never used, and visitors. */
export interface Stage {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly site: Site;
  readonly origin: CountedOrigin;
  readonly edge: EdgeUnderTest;
  readonly visitor: Visitor;
  readonly imageDigest: string;
  readonly imageBytes: number;
  readonly onProgress: BenchOptions['onProgress'];
}

/** Sets up, lets `work` go on, and cleans up, also when either fails or the bench is interrupted. */
export async function onStage<Result>(
  { signal, onProgress }: BenchOptions,
  work: (stage: Stage) => Promise<Result>,
): Promise<Result> {
  const clock = systemClock;
  const parts = new CloseStack(clock, 30_000);
  try {
    const folder = await mkdtemp(join(tmpdir(), 'orilla-bench-'));
    parts.defer('folder', () => rm(folder, { recursive: true, force: true }));
    onProgress('building the VM image');
    const imageFolder = join(folder, 'image');
    const { digest: imageDigest, sizeBytes: imageBytes } = await buildSiteImage(imageFolder, VM_NAME, signal);

    onProgress('starting origin and edge');
    const site = await Site.read(SITE_FOLDER);
    const origin = parts.add(
      'origin',
      await CountedOrigin.start(site, {
        offloadedHost: SITE_HOST,
        vmName: VM_NAME,
        imageFolder,
        imageDigest,
      }),
    );
    const upstreamPort = origin.port;
    const edge = parts.add(
      'edge',
      await EdgeUnderTest.start(clock, join(folder, 'edge'), [
        { name: 'photos', host: SITE_HOST, upstreamPort, mayOffload: true },
        { name: 'direct', host: DIRECT_HOST, upstreamPort, mayOffload: false },
      ]),
    );
    const ended = new AbortController();
    void edge.ended.then((reason) => ended.abort(new Error(reason)));
    const either = AbortSignal.any([signal, ended.signal]);
    origin.enrol({ apiPort: edge.apiPort, token: await edge.token('photos') });
    const visitor = parts.add('visitor', new Visitor(edge.gatewayPort, CONCURRENCY, either));
    const stage = { clock, site, origin, edge, visitor, imageDigest, imageBytes, onProgress };
    return await work({ ...stage, signal: either });
  } finally {
    onProgress('cleaning up');
    await parts.close().catch((error: unknown) => console.error(`bench: ${messageOf(error)}`));
  }
}
