import { existsSync, readdirSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { OrillaCommand, STACK_TRACE } from '../support/orilla-command.ts';
import { machinesIn, RunningOrilla } from '../support/running-orilla.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { TestOrigin } from '../support/test-origin.ts';
import { needs } from '../support/tools.ts';
import { VmApiClient } from '../support/vm-api-client.ts';
import { type WebImage, webImage } from '../support/web-image.ts';

const PHOTOS = 'photos.example';

needs('qemu-system-x86_64')('orilla up', () => {
  let image: WebImage;
  let origin: TestOrigin;
  let folder: string;

  beforeAll(async () => {
    image = await webImage();
    origin = await TestOrigin.start();
  });
  afterAll(() => origin?.[Symbol.asyncDispose]());
  beforeEach(async () => {
    folder = await temporaryFolder();
    origin.images['web'] = image.folder;
  });

  const options = () => ({ folder, origins: { photos: { port: origin.port } } });
  const loadVm = (orilla: RunningOrilla, headers = {}) =>
    new VmApiClient(orilla, 'photos').load({ name: 'photos', imageRef: origin.imageUrl('web') }, headers);
  /** Nothing of an Orilla that ended as it should is left to run or to be cleaned up. */
  const expectNothingLeft = (orilla: RunningOrilla) => {
    expect(machinesIn(folder)).toEqual([]);
    const run = join(orilla.data, 'run');
    expect(existsSync(run) ? readdirSync(run) : []).toEqual([]);
    const images = join(orilla.data, 'images');
    expect(existsSync(images) ? readdirSync(images).filter((name) => name.startsWith('.')) : []).toEqual([]);
  };

  test('after kill -9 starts on the same data: the VM serves on, and goes with it on SIGTERM', async () => {
    await using killed = await RunningOrilla.start(options());
    await loadVm(killed);
    const { pid } = await killed.untilPhase('photos', 'ready');
    killed.signal('SIGKILL');
    await killed.ended;
    expect(machinesIn(folder).map((machine) => machine.pid)).toContain(pid);

    // The image is on this machine: nothing is asked of the origin.
    const fetched = origin.imageFetches.length;
    await using orilla = await RunningOrilla.start(options());
    expect((await orilla.status()).vms).toMatchObject([{ phase: 'ready', pid, restarts: 0 }]);
    expect(orilla.log).toContainEqual(
      expect.objectContaining({ msg: 'took over machines of an earlier process', count: 1 }),
    );
    expect(await orilla.visit(PHOTOS)).toMatchObject({ status: 200, body: 'from the VM\n' });
    expect(origin.imageFetches).toHaveLength(fetched);

    // SIGTERM while a VM serves.
    expect(await orilla.stop()).toMatchObject({ code: 0, stderr: '' });
    expectNothingLeft(orilla);
  });

  test('after kill -9 while a VM boots starts on the same data, and brings the VM up', async () => {
    await using killed = await RunningOrilla.start(options());
    await loadVm(killed);
    await killed.until('QEMU runs', () => (machinesIn(folder).length > 0 ? true : undefined));
    killed.signal('SIGKILL');
    await killed.ended;
    await using orilla = await RunningOrilla.start(options());
    const { pid } = await orilla.untilPhase('photos', 'ready');
    expect(machinesIn(folder).map((machine) => machine.pid)).toContain(pid);
    expect(await orilla.visit(PHOTOS)).toMatchObject({ status: 200, body: 'from the VM\n' });
  });

  test('SIGTERM right after its start ends it, and is no obstacle to the next one', async () => {
    await using orilla = RunningOrilla.spawn(options());
    const { code, signal, stderr } = await orilla.stop();
    // Before the program has taken charge of signals the kernel ends it.
    expect(signal ?? code).toBeOneOf(['SIGTERM', 0]);
    expect(stderr).toBe('');
    await using next = await RunningOrilla.start(options());
    expect(await next.visit(PHOTOS)).toMatchObject({ status: 200 });
  });

  test('SIGTERM while it starts ends it with status 0', async () => {
    await using orilla = RunningOrilla.spawn(options());
    await orilla.until('it has begun', () => existsSync(orilla.data) || undefined);
    expect(await orilla.stop()).toMatchObject({ code: 0, stderr: '' });
    expectNothingLeft(orilla);
  });

  test('SIGTERM as soon as it says that it is up ends it with status 0', async () => {
    await using orilla = await RunningOrilla.start(options());
    expect(await orilla.stop()).toMatchObject({ code: 0, stderr: '' });
    expect(orilla.log.at(-1)).toMatchObject({ msg: 'orilla has ended' });
  });

  test('SIGTERM while an image is fetched, with a client that waits for the VM, ends it with status 0', async () => {
    const asked = Promise.withResolvers<void>();
    origin.images['web'] = () => asked.resolve();
    await using orilla = await RunningOrilla.start(options());
    const waiting = loadVm(orilla, { prefer: 'wait=60' });
    await asked.promise;
    const ended = orilla.stop();
    expect(await waiting).toMatchObject({ status: 202 });
    expect(await ended).toMatchObject({ code: 0, stderr: '' });
    expectNothingLeft(orilla);
  });

  test('SIGTERM while a VM boots ends it with status 0; the VM is wanted still', async () => {
    await using orilla = await RunningOrilla.start(options());
    await loadVm(orilla);
    await orilla.until('QEMU runs', () => (machinesIn(folder).length > 0 ? true : undefined));
    expect((await orilla.status()).vms).toMatchObject([{ phase: 'starting' }]);
    expect(await orilla.stop()).toMatchObject({ code: 0, stderr: '' });
    expectNothingLeft(orilla);
    await using next = await RunningOrilla.start(options());
    expect((await next.status()).vms).toMatchObject([{ name: 'photos' }]);
  });

  test('SIGTERM lets a request that is under way come to its end, and takes no new one', async () => {
    const held = Promise.withResolvers<ServerResponse>();
    origin.serve = (_request, response) => held.resolve(response);
    await using orilla = await RunningOrilla.start(options());
    const underWay = orilla.visit(PHOTOS);
    const response = await held.promise;
    const ended = orilla.stop();
    await orilla.until('new connections are refused', () =>
      // Of a site that is not there: the origin holds every answer.
      orilla.visit('elsewhere.example').then(
        () => undefined,
        (error: NodeJS.ErrnoException) => (error.code === 'ECONNREFUSED' ? true : undefined),
      ),
    );
    response.end('late, and whole');
    expect(await underWay).toMatchObject({ status: 200, body: 'late, and whole' });
    expect(await ended).toMatchObject({ code: 0, stderr: '' });
    origin.serve = (_request, answer) => void answer.end('from the origin\n');
  });

  test('a second one on the same data folder says so and leaves the first alone', async () => {
    await using first = await RunningOrilla.start(options());
    const second = await new OrillaCommand(['up', '--config', first.configFile, '--data', first.data]).ended;
    expect(second).toMatchObject({ code: 1, stdout: '' });
    expect(second.stderr).toContain(first.data);
    expect(second.stderr).not.toMatch(STACK_TRACE);
    expect(await first.visit(PHOTOS)).toMatchObject({ status: 200 });
    expect(existsSync(join(first.data, 'control.sock'))).toBe(true);
  });
});
