import { basename, dirname } from 'node:path';
import { type Clock, CloseStack } from '../../src/base/index.ts';
import { ControlClient } from '../../src/cli/control-client.ts';
import { vmSchema } from '../../src/pool/schema.ts';
import { EdgeUnderTest } from '../support/edge-under-test.ts';
import { Visitor } from '../support/visitor.ts';

/** What the image needs, and a little. */
const MEMORY_BYTES = 136 * 2 ** 20;
const OWNER = 'photos';
/** VMs that are visited all the time, each over a connection of its own. */
const VISITED = 5;
/** Often enough to notice a connection that was lost; more, and emulated guests would leave the host no time. */
const VISIT_INTERVAL_MS = 200;
const LOOK_MS = 10;
const PATIENCE_MS = 240_000;

/** What became of the machines of a process that was killed. */
export interface Adoption {
  readonly vms: number;
  /** From the start of the next process until all were ready in it. */
  readonly readySeconds: number;
  /** Of those, in the same process as before. */
  readonly kept: number;
  readonly requests: number;
  /** Requests that had no whole answer of their VM, from before the kill until after the takeover. */
  readonly requestsLost: number;
  readonly connectionsLost: number;
}

/** Starts so many VMs, kills the control process while visitors ask, and starts another. */
export async function measureAdoption(
  clock: Clock,
  folder: string,
  imageFolder: string,
  count: number,
  signal: AbortSignal,
): Promise<Adoption> {
  const parts = new CloseStack(clock, 60_000);
  const limit = AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]);
  const start = () =>
    EdgeUnderTest.start(clock, folder, [{ ...SITE, maxVms: count }], {
      allowUntrustedOnTcg: true,
      accelerator: 'tcg',
      warmLimit: '0 B',
      maxVms: count,
      imageDirectory: dirname(imageFolder),
    });
  try {
    const killed = await start();
    parts.defer('first edge', () => killed.kill());
    const names = Array.from({ length: count }, (_, index) => `vm${index}`);
    // The others are clones of the first. One after the other: how fifty come up at once is another question.
    for (const [index, name] of names.entries()) {
      await run(killed, basename(imageFolder), name);
      await untilAllReady(clock, killed, index + 1, limit);
    }
    const before = await untilAllReady(clock, killed, count, limit);

    const over = new AbortController();
    const visits = names.slice(0, VISITED).map((name) => visit(clock, killed, name, over.signal));
    await killed.kill();
    const startMs = clock.monotonicMs();
    const next = parts.add('next edge', await start());
    const after = await untilAllReady(clock, next, count, limit);
    const readySeconds = (clock.monotonicMs() - startMs) / 1000;
    over.abort();
    const seen = await Promise.all(visits);
    const sum = (value: (one: (typeof seen)[number]) => number) =>
      seen.reduce((total, one) => total + value(one), 0);
    return {
      vms: count,
      readySeconds,
      kept: names.filter((name) => before.get(name) === after.get(name)).length,
      requests: sum(({ requests }) => requests),
      requestsLost: sum(({ requestsLost }) => requestsLost),
      connectionsLost: sum(({ connections }) => connections - 1),
    };
  } finally {
    await parts.close();
  }
}

/** Nobody asks for it by its own host name; VMs have names of their own. */
const SITE = { name: OWNER, host: 'photos.localhost', upstreamPort: 9, mayOffload: true };

async function run(edge: EdgeUnderTest, imageRef: string, name: string): Promise<void> {
  const configuration = { cpus: 1, memoryBytes: MEMORY_BYTES, diskBytes: 0 };
  const control = new ControlClient(edge.dataFolder);
  await control.post('/api/v1/vms', { name, owner: OWNER, imageRef, configuration }, vmSchema);
}

/** Their processes, by name. */
async function untilAllReady(
  clock: Clock,
  edge: EdgeUnderTest,
  count: number,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, number | undefined>> {
  for (;;) {
    const vms = await edge.vms();
    const failed = vms.find(({ phase }) => phase === 'failed');
    if (failed) throw new Error(`the VM ${failed.name}: ${failed.reason}`);
    const ready = vms.filter(({ phase }) => phase === 'ready');
    if (ready.length === count) return new Map(ready.map(({ name, pid }) => [name, pid]));
    await clock.sleep(LOOK_MS, signal);
  }
}

/** Asks one VM again and again over one kept connection, until `over`. */
async function visit(clock: Clock, edge: EdgeUnderTest, name: string, over: AbortSignal) {
  const visitor = new Visitor(edge.gatewayPort, 1, new AbortController().signal);
  let requests = 0;
  let requestsLost = 0;
  while (!over.aborted) {
    const { isWhole, status } = await visitor.ask({
      method: 'GET',
      host: `${name}.edge.localhost`,
      path: '/',
    });
    requests += 1;
    if (!isWhole || status !== 200) requestsLost += 1;
    await clock.sleep(VISIT_INTERVAL_MS, over).catch(() => undefined);
  }
  const { connections } = visitor;
  await visitor.close();
  return { requests, requestsLost, connections };
}
