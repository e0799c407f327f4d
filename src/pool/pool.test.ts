import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../test/support/temporary-folder.ts';
import { SMALL, startTestPool, untilVm } from '../../test/support/test-pool.ts';
import { poolError } from './errors.ts';

const request = { name: 'photos', owner: 'photos', imageRef: 'photos', configuration: SMALL };
const isReady = ({ phase }: { phase: string }) => phase === 'ready';

let folder: string;
let running: Awaited<ReturnType<typeof startTestPool>>;

beforeEach(async () => {
  folder = await temporaryFolder();
  running = await startTestPool(folder);
});
afterEach(() => running.close());

describe('a pool', () => {
  it('fetches the image, starts a VM from it and tells where it answers [gateway G7]', async () => {
    const asked = await running.pool.create(request);
    expect(asked).toMatchObject({ vm: 'photos', kind: 'load', status: 'running' });
    expect(running.pool.get('photos').phase).toBe('fetching');
    const vm = await untilVm(running.pool, 'photos', isReady);
    expect(vm).toMatchObject({ imageDigest: running.digest, restarts: 0, configuration: SMALL });
    expect(vm.lastStart?.totalMs).toBeGreaterThan(0);
    const answer = await fetch(`http://127.0.0.1:${vm.addresses?.[0]?.port}/hello`);
    expect(await answer.text()).toBe('vm photos /hello');
  });

  it('starts one VM however many ask for it at once', async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => running.pool.create(request)));
    expect(new Set(answers.map(({ id }) => id)).size).toBe(1);
    await untilVm(running.pool, 'photos', isReady);
    expect(running.hypervisor.starts).toBe(1);
  });

  it('refuses another image, configuration or owner under a name that is taken', async () => {
    await running.pool.create(request);
    for (const other of [
      { imageRef: 'other' },
      { owner: 'somebody' },
      { imageDigest: `sha256:${'0'.repeat(64)}` },
      { configuration: { ...SMALL, cpus: 2 } },
    ]) {
      if ('imageDigest' in other) await untilVm(running.pool, 'photos', isReady);
      await expect(running.pool.create({ ...request, ...other })).rejects.toMatchObject({
        code: 'vm_conflict',
      });
    }
  });

  it('starts a VM again that was killed, and counts it', async () => {
    await running.pool.create(request);
    const first = await untilVm(running.pool, 'photos', isReady);
    process.kill(first.pid ?? 0, 'SIGKILL');
    const second = await untilVm(running.pool, 'photos', (vm) => isReady(vm) && vm.pid !== first.pid);
    expect(second.restarts).toBe(1);
    expect(await running.registry.metrics()).toContain('orilla_pool_vm_crashes_total 1');
  });

  it('starts again the VMs that were wanted when the process ended', async () => {
    await running.pool.create(request);
    await untilVm(running.pool, 'photos', isReady);
    await running.close();
    running = await startTestPool(folder);
    const vm = await untilVm(running.pool, 'photos', isReady);
    expect(vm).toMatchObject({ owner: 'photos', imageDigest: running.digest });
  });

  it('forgets a VM that was stopped, also after a new start', async () => {
    await running.pool.create(request);
    await untilVm(running.pool, 'photos', isReady);
    await running.pool.remove('photos');
    expect(running.pool.list()).toEqual([]);
    await running.close();
    running = await startTestPool(folder);
    expect(running.pool.list()).toEqual([]);
    expect(() => running.pool.get('photos')).toThrow('no VM is named "photos"');
  });

  it('gives up an image of the wrong digest and says what it found', async () => {
    const imageDigest = `sha256:${'0'.repeat(64)}`;
    await running.pool.create({ ...request, imageDigest });
    const vm = await untilVm(running.pool, 'photos', ({ phase }) => phase === 'failed');
    expect(vm.reason).toContain(running.digest);
    expect(vm.reason).toContain(imageDigest);
    expect(running.hypervisor.starts).toBe(0);
  });

  it('gives up a truncated image only after several attempts, and tries again when asked again', async () => {
    await writeFile(join(folder, 'provided', 'photos', 'vmlinuz'), 'a ker');
    await running.pool.create(request);
    const vm = await untilVm(running.pool, 'photos', ({ phase }) => phase === 'waiting');
    expect(vm.reason).toContain('ends after 5 octets; expected 8');
    await writeFile(join(folder, 'provided', 'photos', 'vmlinuz'), 'a kernel');
    await untilVm(running.pool, 'photos', isReady);
  });

  it('starts again after a start that failed', async () => {
    running.hypervisor.failures = [
      poolError('machine_failed', 'QEMU: no room'),
      poolError('machine_failed', 'again'),
    ];
    await running.pool.create(request);
    const vm = await untilVm(running.pool, 'photos', isReady);
    expect(vm.restarts).toBe(2);
  });

  it('names what is wrong with a reference at once, not by a VM that fails later [gateway G5]', async () => {
    await mkdir(join(folder, 'secret'));
    await symlink(join(folder, 'secret'), join(folder, 'provided', 'link'));
    for (const [imageRef, code] of [
      ['../secret', 'image_outside_root'],
      ['/etc', 'image_outside_root'],
      ['link', 'image_outside_root'],
      ['nothing', 'image_not_found'],
      ['http://192.0.2.1/image', 'image_outside_root'],
      ['ftp://example/image', 'image_invalid'],
      [`sha256:${'0'.repeat(64)}`, 'image_not_found'],
    ]) {
      await expect(running.pool.create({ ...request, imageRef: imageRef ?? '' })).rejects.toMatchObject({
        code,
      });
    }
    expect(running.pool.list()).toEqual([]);
  });

  it('takes no more VMs than it may, and none larger than the host', async () => {
    const other = { ...request, owner: 'other' };
    for (const name of ['a', 'b', 'c', 'd']) await running.pool.create({ ...other, name });
    await expect(running.pool.create({ ...other, name: 'e' })).rejects.toMatchObject({ code: 'pool_full' });
    await running.pool.remove('a');
    for (const configuration of [
      { ...SMALL, cpus: 200 },
      { ...SMALL, memoryBytes: 2 ** 50 },
    ]) {
      await expect(running.pool.create({ ...request, name: 'e', configuration })).rejects.toMatchObject({
        code: 'configuration_too_large',
      });
    }
  });

  it('runs a VM from the image that was found first, also when its source is gone', async () => {
    await running.pool.create(request);
    const first = await untilVm(running.pool, 'photos', isReady);
    await rm(join(folder, 'provided', 'photos'), { recursive: true });
    process.kill(first.pid ?? 0, 'SIGKILL');
    await untilVm(running.pool, 'photos', (vm) => isReady(vm) && vm.pid !== first.pid);
  });
});
