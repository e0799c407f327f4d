import { orilla } from '../support/edge-under-test.ts';
import { answerer } from '../support/verdict.ts';
import type { Asked } from '../support/visitor.ts';
import { SITE_HOST, type Stage, VM_NAME } from './stage.ts';

/** One start of a VM that was not there, from the request that was the reason for it. */
export interface ColdStart {
  /** `new`: nobody ever ran it here, so that there is neither a template of it nor a machine that waits. */
  readonly image: 'stored' | 'fetched' | 'new';
  /** How its machine came to be. */
  readonly origin: string;
  /** From the first request to the head of the first answer that the VM gave, as the visitor sees it. */
  readonly firstByteMs: number;
  /** Requests that the visitor made until then: 2 when the origin held the first one back and redirected it. */
  readonly requests: number;
  /** From the origin's `POST` to its answer "ready". */
  readonly loadMs: number;
  /** The edge's own account of where the time went. */
  readonly fetchMs: number;
  readonly bootMs: number;
  readonly totalMs: number;
}

const VISITOR_PATIENCE_MS = 180_000;
const NEW_SIZES_FROM_BYTES = 200 * 2 ** 20;

/**
 * Stops the VM and visits the site, over and over. With `fetched` the image is removed in between, too; with `new` a size is
 * asked for as well that no VM had, so that what was kept of the others is of no use, as on an edge that never saw it.
 */
export async function measureColdStarts(
  stage: Stage,
  image: ColdStart['image'],
  count: number,
): Promise<ColdStart[]> {
  const starts: ColdStart[] = [];
  const { origin, edge, imageDigest, signal, onProgress } = stage;
  for (let done = 0; done < count; done += 1) {
    onProgress(`cold starts, image ${image}`, done, count);
    await origin.unload();
    if (image !== 'stored') {
      await orilla(['image', 'rm', imageDigest, '--data', edge.dataFolder], signal);
    }
    origin.memoryBytes = image === 'new' ? NEW_SIZES_FROM_BYTES + done * 2 ** 20 : undefined;
    starts.push(await startCold(stage, image));
  }
  return starts;
}

async function startCold(stage: Stage, image: ColdStart['image']): Promise<ColdStart> {
  const { visitor, origin, edge, site } = stage;
  let asked: Asked = { method: 'GET', host: SITE_HOST, path: '/' };
  let startMs: number | undefined;
  for (let requests = 1; ; requests += 1) {
    const seen = await visitor.ask(asked);
    startMs ??= seen.startMs;
    if (answerer(site, seen) === 'vm' && seen.firstByteMs !== undefined) {
      const { lastStart } = (await edge.vm(VM_NAME)) ?? {};
      if (!lastStart) throw new Error('the edge does not tell how the VM was started');
      const firstByteMs = seen.startMs + seen.firstByteMs - startMs;
      return { image, firstByteMs, requests, loadMs: origin.loadMs.at(-1) ?? Number.NaN, ...lastStart };
    }
    if (seen.startMs - startMs > VISITOR_PATIENCE_MS) throw new Error('no VM came to serve');
    const { location } = seen.headers;
    if (seen.status === 302 && typeof location === 'string') asked = follow(asked, location);
    // The VM was not ready for as long as the API waits: the next visit is the reason to ask once more.
    else await origin.load();
  }
}

function follow(asked: Asked, location: string): Asked {
  const { hostname, pathname } = new URL(location);
  return { ...asked, host: hostname, path: pathname };
}
