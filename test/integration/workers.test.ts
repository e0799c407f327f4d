import { existsSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/base/index.ts';
import { endProcess } from '../../src/platform/process/index.ts';
import { machinesIn, RunningOrilla, workersIn } from '../support/running-orilla.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { TestOrigin } from '../support/test-origin.ts';
import { needs } from '../support/tools.ts';
import { VmApiClient } from '../support/vm-api-client.ts';
import { webImage } from '../support/web-image.ts';

const PHOTOS = 'photos.example';

let origin: TestOrigin;
let folder: string;
beforeAll(async () => {
  origin = await TestOrigin.start();
});
afterAll(() => origin?.[Symbol.asyncDispose]());
beforeEach(async () => {
  folder = await temporaryFolder();
});

const options = () => ({ folder, gateway: { workers: 2 }, origins: { photos: { port: origin.port } } });
const pidsOf = (workers: readonly { pid: number }[]) => workers.map(({ pid }) => pid).sort((a, b) => a - b);

/** Visits, each over a connection of its own, as many at a time as there are visitors. */
async function visits(orilla: RunningOrilla, count: number): Promise<Map<string, number>> {
  const answers = new Map<string, number>();
  let left = count;
  const visitor = async () => {
    while (left > 0) {
      left -= 1;
      const answer = await orilla.visit(PHOTOS).then(
        ({ status, servedBy }) => `${status} ${servedBy}`,
        (error: NodeJS.ErrnoException) => String(error.code),
      );
      answers.set(answer, (answers.get(answer) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: 4 }, visitor));
  return answers;
}

describe('the workers of the data plane', () => {
  test('serve on when one of them is killed, and another takes its place [gateway G17]', async () => {
    await using orilla = await RunningOrilla.start(options());
    const [first, second] = workersIn(folder);
    await endProcess(systemClock, first!, 0);
    // Its main thread ends before the others, which hold on to its sockets: connections that wait there are reset.
    await orilla.until('all of it is gone', () => !existsSync(`/proc/${first!.pid}`) || undefined);
    expect(await visits(orilla, 100)).toEqual(new Map([['200 origin', 100]]));
    const workers = await orilla.until('there are two again', () => {
      const running = workersIn(folder);
      return running.length === 2 && !pidsOf(running).includes(first!.pid) ? running : undefined;
    });
    expect(pidsOf(workers)).toContain(second!.pid);
    // The new one alone knows the routes too.
    await orilla.until('the new one listens', async () => {
      const { origins } = await orilla.status();
      return origins.length > 0 || undefined;
    });
    await endProcess(systemClock, second!, 0);
    await orilla.until('the new one serves', async () => {
      const answers = await visits(orilla, 4);
      return answers.get('200 origin') === 4 || undefined;
    });
  });

  test('are gone when Orilla has ended', async () => {
    await using orilla = await RunningOrilla.start(options());
    expect(workersIn(folder)).toHaveLength(2);
    expect(await orilla.stop()).toMatchObject({ code: 0 });
    expect(workersIn(folder)).toEqual([]);
  });

  test('of another configuration are replaced by the next Orilla', async () => {
    await using killed = await RunningOrilla.start(options());
    const before = pidsOf(workersIn(folder));
    killed.signal('SIGKILL');
    await killed.ended;
    const elsewhere = { ...options(), gateway: { workers: 1, listen: '127.0.0.2:0' } };
    await using orilla = await RunningOrilla.start(elsewhere);
    const after = await orilla.until('one serves', () => {
      const running = pidsOf(workersIn(folder));
      return running.length === 1 ? running : undefined;
    });
    expect(before).not.toContain(after[0]);
  });
});

needs('qemu-system-x86_64')('without the control process', () => {
  test('they serve on, by the VM too, and the next control process takes them over as they are [gateway G10]', async () => {
    const image = await webImage();
    origin.images['web'] = image.folder;
    await using killed = await RunningOrilla.start(options());
    await new VmApiClient(killed, 'photos').load(
      { name: 'photos', imageRef: origin.imageUrl('web') },
      { prefer: 'wait=60' },
    );
    expect(await visits(killed, 20)).toEqual(new Map([['200 vm/photos', 20]]));
    const [vm] = machinesIn(folder);
    const workers = pidsOf(workersIn(folder));

    killed.signal('SIGKILL');
    await killed.ended;
    expect(await visits(killed, 50)).toEqual(new Map([['200 vm/photos', 50]]));
    // The VM dies, and nobody is there to notice but they.
    await endProcess(systemClock, vm!, 0);
    expect(await visits(killed, 50)).toEqual(new Map([['200 origin', 50]]));

    await using orilla = await RunningOrilla.start(options());
    expect(orilla.gatewayPort).toBe(killed.gatewayPort);
    expect(pidsOf(workersIn(folder))).toEqual(workers);
    expect(orilla.log).toContainEqual(expect.objectContaining({ msg: 'workers taken over', count: 2 }));
    // What they counted meanwhile is not lost.
    const [photos] = (await orilla.status()).origins;
    expect(photos?.requests.origin).toBeGreaterThanOrEqual(50);
    expect(photos?.requests.vm).toBeGreaterThanOrEqual(50);
    await orilla.until('the VM serves again', async () =>
      (await visits(orilla, 1)).has('200 vm/photos') ? true : undefined,
    );
  });
});
