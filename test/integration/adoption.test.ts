import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../src/base/index.ts';
import { endProcess } from '../../src/platform/process/index.ts';
import { rootedImage } from '../support/rooted-image.ts';
import { machinesIn, RunningOrilla } from '../support/running-orilla.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { TestOrigin } from '../support/test-origin.ts';
import { needs } from '../support/tools.ts';
import { VmApiClient } from '../support/vm-api-client.ts';

const NAMES = ['photos', 'films'] as const;

/** An answer that begins at once, and comes to its end when the guest has the file `/tmp/go`. */
const SLOW_DOWNLOAD = `echo begun >/tmp/begun; echo first
while [ ! -e /tmp/go ]; do sleep 0.1; done
head -c 300000 /dev/zero | tr '\\0' x; echo; echo last`;

needs('qemu-system-x86_64')('the machines of an Orilla that was killed', () => {
  let origin: TestOrigin;
  let images: string;
  let folder: string;

  beforeAll(async () => {
    origin = await TestOrigin.start();
    images = mkdtempSync(join(tmpdir(), 'o-'));
    origin.images['web'] = (await rootedImage(join(images, 'rooted'))).folder;
  });
  afterAll(async () => {
    await origin?.[Symbol.asyncDispose]();
    rmSync(images, { recursive: true, force: true });
  });
  beforeEach(async () => {
    folder = await temporaryFolder();
  });

  const start = () => {
    const { port } = origin;
    return RunningOrilla.start({
      folder,
      gateway: { workers: 1 },
      origins: { photos: { port }, films: { port } },
    });
  };
  async function startWithVms(): Promise<RunningOrilla> {
    const orilla = await start();
    const vms = NAMES.map((name) => ({ name, imageRef: origin.imageUrl('web') }));
    const answers = await Promise.all(
      vms.map((vm) => new VmApiClient(orilla, vm.name).load(vm, { prefer: 'wait=60' })),
    );
    expect(answers).toMatchObject([{ status: 201 }, { status: 201 }]);
    return orilla;
  }
  const kill = (orilla: RunningOrilla) => {
    orilla.signal('SIGKILL');
    return orilla.ended;
  };
  const vmsOf = async (orilla: RunningOrilla) =>
    Object.fromEntries((await orilla.status()).vms.map((vm) => [vm.name, vm]));
  const pids = () => machinesIn(folder).map(({ pid }) => pid);
  const inside = (orilla: RunningOrilla, body: string) =>
    orilla.visit('photos.example', '/cgi-bin/run', { method: 'POST', body });

  test('are taken over by the next one as they run, and no visitor notices [gateway G10]', async () => {
    await using killed = await startWithVms();
    const before = await vmsOf(killed);
    const download = inside(killed, SLOW_DOWNLOAD);
    await killed.until('it has begun', async () =>
      (await inside(killed, 'cat /tmp/begun')).body === 'begun\n' ? true : undefined,
    );

    const answers = new Set<string>();
    const over = new AbortController();
    const visiting = (async () => {
      while (!over.signal.aborted) {
        const { status, body } = await killed.visit('photos.example');
        answers.add(`${status} ${body}`);
      }
    })();
    await kill(killed);
    await using orilla = await start();
    const after = await vmsOf(orilla);
    for (const name of NAMES) {
      expect(after[name]).toMatchObject({
        phase: 'ready',
        pid: before[name]?.pid,
        addresses: before[name]?.addresses,
        restarts: 0,
      });
    }
    await inside(orilla, 'touch /tmp/go');
    const { status, body } = await download;
    expect({ status, ends: [body.slice(0, 6), body.slice(-5)], length: body.length }).toEqual({
      status: 200,
      ends: ['first\n', 'last\n'],
      length: 300_012,
    });
    over.abort();
    await visiting;
    expect(answers).toEqual(new Set(['200 from the VM\n']));

    // From here on they are machines like all others.
    expect(await new VmApiClient(orilla, 'films').remove('films')).toBe(204);
    expect(pids()).toEqual([before['photos']?.pid]);
    process.kill(before['photos']?.pid ?? 0, 'SIGKILL');
    await orilla.untilVm('photos', 'started again', (vm) => vm.phase === 'ready' && vm.restarts === 1);
    expect(await orilla.stop()).toMatchObject({ code: 0, stderr: '' });
    expect(pids()).toEqual([]);
  });

  test('are started anew where they died or hang meanwhile', async () => {
    await using killed = await startWithVms();
    const before = await vmsOf(killed);
    await kill(killed);
    const [dead, hung] = NAMES.map((name) => machinesIn(folder).find(({ pid }) => pid === before[name]?.pid));
    await endProcess(systemClock, dead!, 0);
    process.kill(hung!.pid, 'SIGSTOP');

    await using orilla = await start();
    expect(orilla.log).toContainEqual(
      expect.objectContaining({ msg: 'ended machines of an earlier process' }),
    );
    const after = await Promise.all(NAMES.map((name) => orilla.untilPhase(name, 'ready')));
    // Beside them there may be one of which a template is made.
    expect(pids()).toEqual(expect.arrayContaining(after.map(({ pid }) => pid)));
    for (const pid of [dead!.pid, hung!.pid]) expect(pids()).not.toContain(pid);
    for (const name of NAMES) {
      expect(await orilla.visit(`${name}.example`)).toMatchObject({ status: 200, body: 'from the VM\n' });
    }
  });
});
