import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { writeImageFolder } from '../../test/support/image-folder.ts';
import { temporaryFolder } from '../../test/support/temporary-folder.ts';
import { SMALL, startTestPool, untilVm } from '../../test/support/test-pool.ts';
import type { Vm } from './schema.ts';

const request = { name: 'notes', owner: 'notes', imageRef: 'photos', configuration: SMALL };

let folder: string;
let running: Awaited<ReturnType<typeof startTestPool>>;

beforeEach(async () => {
  folder = await temporaryFolder();
  running = await startTestPool(folder);
  await running.pool.create(request);
  await ready();
});
afterEach(() => running.close());

const ready = () => untilVm(running.pool, 'notes', ({ phase }) => phase === 'ready');
const urlOf = ({ addresses = [] }: Vm) => `http://127.0.0.1:${addresses[0]?.port}/cgi-bin/memory`;
const remember = async (text: string) =>
  fetch(urlOf(running.pool.get('notes')), { method: 'POST', body: text });
const remembered = async () => (await fetch(urlOf(running.pool.get('notes')))).text();
async function restart() {
  await running.close();
  running = await startTestPool(folder);
}

describe('a VM that is suspended', () => {
  test('is as it was when it is resumed, also by another Orilla [desktop D6]', async () => {
    await remember('ink');
    await running.pool.suspend('notes', 'operator');
    expect(running.pool.get('notes')).toMatchObject({ phase: 'suspended', suspendedBy: 'operator' });
    await restart();
    expect(running.pool.get('notes')).toMatchObject({ phase: 'suspended', suspendedBy: 'operator' });
    expect(running.hypervisor.starts).toBe(0);
    await running.pool.resume('notes');
    const vm = await ready();
    expect(await remembered()).toBe('ink');
    expect(vm).toMatchObject({ lastStart: { origin: 'saved' }, restarts: 0 });
    // It goes on from there once: what it is from now on is not what was kept.
    expect(await readdir(join(folder, 'saved', 'notes'))).toEqual([]);
  });

  test('keeps what it was when its way back was broken off', async () => {
    await remember('ink');
    await running.pool.suspend('notes', 'operator');
    await running.pool.resume('notes');
    await restart();
    await ready();
    expect(await remembered()).toBe('ink');
  });

  test('leaves nothing of what was begun and not ended', async () => {
    await running.pool.suspend('notes', 'operator');
    const notes = join(folder, 'saved', 'notes');
    const kept = await readdir(notes);
    const left = ['.suspended-1', 'suspended-7', 'before-2.draft', join('snapshots', 'half')];
    for (const path of left) await mkdir(join(notes, path), { recursive: true });
    await restart();
    expect((await readdir(notes)).sort()).toEqual(['snapshots', ...kept].sort());
    expect(await readdir(join(notes, 'snapshots'))).toEqual([]);
  });

  test('comes back anew, and says why, when what was kept of it is damaged', async () => {
    await running.pool.suspend('notes', 'idleness');
    await restart();
    await rm(join(folder, 'saved', 'notes', 'suspended-1', 'state'));
    running.pool.wake('notes');
    const vm = await ready();
    expect(vm.lastStart?.origin).toBe('boot');
    expect(vm.restarts).toBe(1);
  });

  test('is woken by its owner who asks for it once more [gateway G7]', async () => {
    await running.pool.suspend('notes', 'idleness');
    const operation = await running.pool.create(request);
    await ready();
    const patience = AbortSignal.timeout(10_000);
    expect(await running.pool.settled(operation, patience)).toMatchObject({ status: 'succeeded' });
  });

  test("is not its owner's to bring back when the operator suspended it", async () => {
    await running.pool.suspend('notes', 'operator');
    const operation = await running.pool.create(request);
    const settled = await running.pool.settled(operation, AbortSignal.timeout(10_000));
    expect(settled).toMatchObject({ status: 'failed', reason: 'the operator suspended the VM' });
  });

  test('makes room for others, and waits for it', async () => {
    const maxMemoryBytesOf = () => SMALL.memoryBytes;
    await running.close();
    running = await startTestPool(folder, { maxMemoryBytesOf });
    await ready();
    await expect(running.pool.create({ ...request, name: 'more' })).rejects.toMatchObject({
      code: 'quota_exceeded',
    });
    await running.pool.suspend('notes', 'idleness');
    await running.pool.create({ ...request, name: 'more' });
    await expect(running.pool.resume('notes')).rejects.toMatchObject({ code: 'quota_exceeded' });
    running.pool.wake('notes');
    await untilVm(running.pool, 'notes', ({ reason }) => reason?.includes('notes may have') ?? false);
    await running.pool.remove('more');
    await running.pool.resume('notes');
    await ready();
  });
});

describe('a snapshot', () => {
  test('is what the VM was then, as often as it is gone back to', async () => {
    await remember('first');
    expect(await running.pool.snapshots.take('notes', 'before')).toMatchObject({ label: 'before' });
    expect(running.pool.get('notes').phase).toBe('ready');
    for (const later of ['second', 'third']) {
      await remember(later);
      await running.pool.snapshots.revert('notes', 'before');
      await ready();
      expect(await remembered()).toBe('first');
    }
    await running.pool.snapshots.remove('notes', 'before');
    await expect(running.pool.snapshots.revert('notes', 'before')).rejects.toMatchObject({
      code: 'snapshot_not_found',
    });
  });

  test('brings back a VM that is suspended, too', async () => {
    await remember('first');
    await running.pool.snapshots.take('notes', 'before');
    await running.pool.suspend('notes', 'operator');
    await running.pool.snapshots.revert('notes', 'before');
    const vm = await ready();
    expect(await remembered()).toBe('first');
    expect(vm.suspendedBy).toBeUndefined();
  });

  test('has one name, and is of a VM that serves', async () => {
    await running.pool.snapshots.take('notes', 'before');
    await expect(running.pool.snapshots.take('notes', 'before')).rejects.toMatchObject({
      code: 'snapshot_conflict',
    });
    await running.pool.suspend('notes', 'operator');
    await expect(running.pool.snapshots.take('notes', 'after')).rejects.toMatchObject({
      code: 'vm_not_ready',
    });
    await expect(running.pool.snapshots.list('other')).rejects.toMatchObject({ code: 'vm_not_found' });
  });

  test('goes with its VM', async () => {
    await running.pool.snapshots.take('notes', 'before');
    await running.pool.remove('notes');
    expect(await readdir(join(folder, 'saved'))).toEqual([]);
  });
});

describe('an upgrade of all VMs of an image', () => {
  test('goes on after a restart where it was, and ends [desktop D17]', async () => {
    await writeImageFolder(join(folder, 'provided', 'second'), { name: 'second' });
    await running.pool.create({ ...request, name: 'more' });
    await untilVm(running.pool, 'more', ({ phase }) => phase === 'ready');
    const { digest } = running;
    const { id } = await running.pool.upgrades.begin({ fromDigest: digest, imageRef: 'second', waveSize: 1 });
    await expect(
      running.pool.upgrades.begin({ fromDigest: digest, imageRef: 'second', waveSize: 1 }),
    ).rejects.toMatchObject({ code: 'upgrade_conflict' });
    await restart();
    for (const name of ['notes', 'more']) {
      await untilVm(running.pool, name, ({ imageDigest, next }) => imageDigest !== digest && !next);
    }
    const isOver = async () => (await running.pool.upgrades.get(id)).status;
    await expect.poll(isOver, { timeout: 10_000 }).toBe('succeeded');
    expect((await running.pool.upgrades.get(id)).steps).toEqual([
      { vm: 'notes', status: 'upgraded' },
      { vm: 'more', status: 'upgraded' },
    ]);
  });
});
