import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { writeImageFolder } from '../../test/support/image-folder.ts';
import { temporaryFolder } from '../../test/support/temporary-folder.ts';
import { SMALL, startTestPool, untilVm } from '../../test/support/test-pool.ts';
import { poolError } from './errors.ts';

const photos = { name: 'photos', owner: 'photos', imageRef: 'photos', configuration: SMALL };
const second = { ...photos, imageRef: 'second' };
const once = (key: string, fingerprint = 'a') => ({ key, fingerprint });
const { signal } = new AbortController();

let folder: string;
let running: Awaited<ReturnType<typeof startTestPool>>;
let secondDigest: string;

beforeEach(async () => {
  folder = await temporaryFolder();
  running = await startTestPool(folder);
  secondDigest = await writeImageFolder(join(folder, 'provided', 'second'), { name: 'second' });
});
afterEach(() => running.close());

const restart = async () => {
  await running.close();
  running = await startTestPool(folder);
};
const create = async (request = photos) => running.pool.settled(await running.pool.create(request), signal);
const change = async (request = second) => running.pool.settled(await running.pool.change(request), signal);
const ask = async (port = running.pool.get('photos').addresses?.[0]?.port) =>
  (await fetch(`http://127.0.0.1:${port}/hello`)).text();

describe('a change of a VM', () => {
  it('starts the new version beside the old one, which goes on until the new one is ready', async () => {
    await create();
    const old = running.pool.get('photos');
    const operation = await running.pool.change(second);
    expect(operation).toMatchObject({ kind: 'change', vm: 'photos', version: 2, status: 'running' });
    expect(running.pool.get('photos')).toMatchObject({ phase: 'ready', version: 1, next: { version: 2 } });
    expect(await running.pool.settled(operation, signal)).toMatchObject({ status: 'succeeded' });
    const vm = running.pool.get('photos');
    expect(vm).toMatchObject({ version: 2, imageDigest: secondDigest, previous: { version: 1 } });
    expect(vm.pid).not.toBe(old.pid);
    // The old machine still answers those who had a connection to it.
    expect(await ask(old.addresses?.[0]?.port)).toBe('vm photos /hello');
    expect(await ask()).toBe('vm photos /hello');
  });

  it('that fails says why, and the old version goes on', async () => {
    await create();
    const { pid } = running.pool.get('photos');
    const operation = await change({ ...second, imageDigest: `sha256:${'0'.repeat(64)}` } as typeof second);
    expect(operation).toMatchObject({ status: 'failed', reason: expect.stringContaining(secondDigest) });
    expect(running.pool.get('photos')).toMatchObject({ phase: 'ready', version: 1, pid });
    await restart();
    expect(running.pool.get('photos').next).toBeUndefined();
  });

  it('is refused at once when its image cannot be, and changes nothing', async () => {
    await create();
    await expect(running.pool.change({ ...photos, imageRef: 'nowhere' })).rejects.toMatchObject({
      code: 'image_not_found',
    });
    expect(running.pool.get('photos').next).toBeUndefined();
  });

  it('makes the VM when there is none, and asks nothing of one that is like that', async () => {
    expect(await change()).toMatchObject({ kind: 'load', version: 1, status: 'succeeded' });
    const again = await running.pool.change(second);
    expect(again).toMatchObject({ version: 1, status: 'succeeded' });
    expect(running.hypervisor.starts).toBe(1);
  });

  it('goes on after a restart of ours, and so does its operation', async () => {
    await create();
    running.hypervisor.failures = Array.from({ length: 5 }, () => poolError('machine_failed', 'no room'));
    const { id } = await running.pool.change(second);
    await restart();
    const operation = await running.pool.operation('photos', id);
    expect(await running.pool.settled(operation, signal)).toMatchObject({ status: 'succeeded' });
    expect(await untilVm(running.pool, 'photos', ({ version }) => version === 2)).toMatchObject({
      previous: { version: 1, imageDigest: running.digest },
    });
  });

  it('is called off by a newer one, and by the wish for what is there', async () => {
    await create();
    for (const newer of [photos, { ...photos, configuration: { ...SMALL, diskBytes: 2 ** 20 } }]) {
      const first = await running.pool.change(second);
      await running.pool.change(newer);
      expect(await running.pool.settled(first, signal)).toMatchObject({
        status: 'cancelled',
        reason: 'another version was asked for',
      });
    }
  });

  it('ends with its VM', async () => {
    await create();
    const operation = await running.pool.change(second);
    await running.pool.remove('photos');
    expect(await running.pool.operation('photos', operation.id)).toMatchObject({
      status: 'cancelled',
      reason: 'the VM was stopped',
    });
  });

  it('needs room for both versions at once', async () => {
    await running.close();
    running = await startTestPool(folder, { maxMemoryBytesOf: () => 2 ** 28 - 1 });
    await create();
    await expect(running.pool.change(second)).rejects.toMatchObject({
      code: 'quota_exceeded',
      message: expect.stringContaining('its VMs take 128 MiB'),
    });
    expect(running.pool.get('photos').next).toBeUndefined();
  });

  it('is not made by the plain request for the VM, which is told so, or joins it', async () => {
    await create();
    await expect(running.pool.create(second)).rejects.toMatchObject({ code: 'vm_conflict' });
    const operation = await running.pool.change(second);
    expect((await running.pool.create(second)).id).toBe(operation.id);
    await running.pool.create(photos);
    expect(await running.pool.settled(operation, signal)).toMatchObject({ status: 'succeeded' });
  });
});

describe('a rollback', () => {
  it('goes back to the image of the version before, also when its source is gone, and forth again', async () => {
    await create();
    await change();
    await rm(join(folder, 'provided', 'photos'), { recursive: true });
    await rm(join(folder, 'provided', 'second'), { recursive: true });
    const back = await running.pool.rollBack('photos', 'photos');
    expect(back).toMatchObject({ kind: 'rollback', version: 3 });
    await running.pool.settled(back, signal);
    expect(running.pool.get('photos')).toMatchObject({ version: 3, imageDigest: running.digest });
    await running.pool.settled(await running.pool.rollBack('photos', 'photos'), signal);
    expect(running.pool.get('photos')).toMatchObject({ version: 4, imageDigest: secondDigest });
  });

  it('calls a change off that is under way', async () => {
    await create();
    const operation = await running.pool.change(second);
    expect(await running.pool.rollBack('photos', 'photos')).toMatchObject({
      version: 1,
      status: 'succeeded',
    });
    expect(await running.pool.settled(operation, signal)).toMatchObject({ status: 'cancelled' });
  });

  it('is refused where there is nothing to go back to, and where the VM is another’s', async () => {
    await create();
    await expect(running.pool.rollBack('photos', 'photos')).rejects.toMatchObject({
      code: 'previous_version_missing',
      status: 409,
    });
    await expect(running.pool.rollBack('photos', 'other')).rejects.toMatchObject({ code: 'vm_not_found' });
  });
});

describe('a request with a key', () => {
  it('is done once, however often it comes, and at the same time', async () => {
    const answers = await Promise.all(
      Array.from({ length: 5 }, () => running.pool.create(photos, once('k'))),
    );
    answers.push(await running.pool.create(photos, once('k')));
    expect(new Set(answers.map(({ id }) => id)).size).toBe(1);
    expect(running.hypervisor.starts).toBeLessThan(2);
  });

  it('is known after a restart of ours, also when what it asked for was undone since', async () => {
    await create();
    const { id } = await running.pool.settled(await running.pool.change(second, once('k')), signal);
    await running.pool.settled(await running.pool.rollBack('photos', 'photos'), signal);
    await restart();
    expect(await running.pool.change(second, once('k'))).toMatchObject({ id, status: 'succeeded' });
    expect(running.pool.get('photos')).toMatchObject({ version: 3, imageDigest: running.digest });
  });

  it('is refused with something else under the same key, at the same time too', async () => {
    const first = running.pool.create(photos, once('k'));
    const reused = { code: 'request_key_reused', status: 422, message: expect.stringContaining('"k"') };
    await expect(running.pool.create(photos, once('k', 'b'))).rejects.toMatchObject(reused);
    await first;
    await expect(running.pool.create(photos, once('k', 'b'))).rejects.toMatchObject(reused);
  });

  it('has its key to itself: another owner may use the same', async () => {
    const first = await running.pool.create(photos, once('k'));
    const other = await running.pool.create({ ...photos, name: 'x', owner: 'other' }, once('k', 'b'));
    expect(other.id).not.toBe(first.id);
  });

  it('that was refused may be sent again under it', async () => {
    await expect(running.pool.create({ ...photos, imageRef: 'nowhere' }, once('k'))).rejects.toThrow();
    expect(await running.pool.create(photos, once('k', 'b'))).toMatchObject({ status: 'running' });
  });
});

describe('an operation', () => {
  it('is its owner’s only', async () => {
    const { id } = await running.pool.create(photos);
    await expect(running.pool.operation('other', id)).rejects.toMatchObject({
      code: 'operation_not_found',
      status: 404,
    });
    await expect(running.pool.operation('photos', 'none')).rejects.toMatchObject({
      code: 'operation_not_found',
    });
  });

  it('is remembered after a restart, with how it ended', async () => {
    const { id } = await create();
    await restart();
    expect(await running.pool.operation('photos', id)).toMatchObject({ status: 'succeeded' });
  });

  it('is one for each start that is asked for anew', async () => {
    const wrong = { ...photos, imageDigest: `sha256:${'0'.repeat(64)}` };
    const first = await create(wrong);
    expect(first).toMatchObject({ status: 'failed' });
    const again = await running.pool.create(wrong);
    expect(again).toMatchObject({ status: 'running', version: 1 });
    expect(again.id).not.toBe(first.id);
    expect(await running.pool.settled(again, signal)).toMatchObject({ status: 'failed' });
  });

  it('is waited for no longer than wanted', async () => {
    const operation = await running.pool.create(photos);
    expect(await running.pool.settled(operation, AbortSignal.abort())).toMatchObject({ status: 'running' });
  });
});

describe('an image', () => {
  it('that is withdrawn is not started any more by its owner, and goes from the disk', async () => {
    await create();
    await change();
    await running.pool.withdrawImage('photos', running.digest);
    expect(await running.images.find(running.digest)).toBeUndefined();
    expect(running.pool.get('photos').previous).toBeUndefined();
    for (const imageRef of ['photos', running.digest]) {
      const wanted = { ...photos, imageRef, imageDigest: running.digest };
      await expect(running.pool.change(wanted)).rejects.toMatchObject({
        code: 'image_withdrawn',
        status: 410,
      });
    }
    // Not named by its digest, it is found out when it comes.
    expect(await change(photos)).toMatchObject({
      status: 'failed',
      reason: expect.stringContaining('was withdrawn by photos'),
    });
    expect(await running.pool.imagesOf('photos')).toMatchObject([
      { digest: running.digest, isWithdrawn: true },
      { digest: secondDigest, isWithdrawn: false },
    ]);
  });

  it('is not withdrawn while a VM runs from it, nor by those who never ran it', async () => {
    await create();
    await expect(running.pool.withdrawImage('photos', running.digest)).rejects.toMatchObject({
      code: 'image_in_use',
      message: expect.stringContaining('the VM photos runs from it'),
    });
    await expect(running.pool.withdrawImage('other', running.digest)).rejects.toMatchObject({
      code: 'image_not_found',
    });
  });

  it('that others run stays on the disk when one withdraws it, and goes on to be started by them', async () => {
    await create();
    await create({ ...photos, name: 'x', owner: 'other' });
    await running.pool.remove('photos');
    await running.pool.withdrawImage('photos', running.digest);
    expect(await running.images.find(running.digest)).toBeDefined();
    await running.pool.remove('x');
    expect(await create({ ...photos, name: 'x', owner: 'other' })).toMatchObject({ status: 'succeeded' });
  });

  it('goes when there is no room for a newer one and no VM needs it', async () => {
    await running.close();
    running = await startTestPool(folder, { imageLimitBytes: 20 });
    await create();
    await change();
    // The first is needed for a rollback.
    expect(await running.images.list()).toHaveLength(2);
    await running.pool.remove('photos');
    await writeImageFolder(join(folder, 'provided', 'third'), { name: 'third' });
    await create({ ...photos, imageRef: 'third' });
    expect((await running.images.list()).map(({ name }) => name)).toEqual(['third']);
  });
});
