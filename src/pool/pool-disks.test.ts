import { existsSync, statSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { writeImageFolder } from '../../test/support/image-folder.ts';
import { temporaryFolder } from '../../test/support/temporary-folder.ts';
import { SMALL, startTestPool, untilVm } from '../../test/support/test-pool.ts';
import { poolError } from './errors.ts';

const MIB = 2 ** 20;
const WITH_DISK = { ...SMALL, diskBytes: MIB };
const request = { name: 'photos', owner: 'photos', imageRef: 'photos', configuration: WITH_DISK };
const isReady = ({ phase }: { phase: string }) => phase === 'ready';

describe('the disk of a VM', () => {
  let folder: string;
  let running: Awaited<ReturnType<typeof startTestPool>>;
  const dataDisk = (name = 'photos') => join(folder, 'vms', name, 'data.raw');
  const untilReady = () => untilVm(running.pool, 'photos', isReady);

  beforeEach(async () => {
    folder = await temporaryFolder();
    running = await startTestPool(folder);
    await writeImageFolder(join(folder, 'provided', 'other'), { name: 'other' });
    await running.pool.create(request);
    await untilReady();
  });
  afterEach(() => running.close());

  test('is there with its first machine, and stays for the next one [gateway G6]', async () => {
    expect(statSync(dataDisk()).size).toBe(MIB);
    await writeFile(dataDisk(), 'kept', { flag: 'r+' });
    const { pid } = running.pool.get('photos');
    process.kill(pid ?? 0, 'SIGKILL');
    await untilVm(running.pool, 'photos', (vm) => isReady(vm) && vm.pid !== pid);
    const { ino } = statSync(dataDisk());
    await running.close();
    running = await startTestPool(folder);
    await untilReady();
    expect(statSync(dataDisk()).ino).toBe(ino);
  });

  test('goes with the VM, also when the process died between the two', async () => {
    await running.pool.remove('photos');
    expect(existsSync(join(folder, 'vms', 'photos'))).toBe(false);
    await running.close();
    await mkdir(join(folder, 'vms', 'removed'), { recursive: true });
    await writeFile(dataDisk('removed'), 'left');
    running = await startTestPool(folder);
    expect(existsSync(join(folder, 'vms', 'removed'))).toBe(false);
  });

  test('passes to a new version, which starts when the old one has ended, and grows with it', async () => {
    await writeFile(dataDisk(), 'kept', { flag: 'r+' });
    const first = running.pool.get('photos');
    await running.pool.change({ ...request, configuration: { ...SMALL, diskBytes: 2 * MIB } });
    const vm = await untilVm(
      running.pool,
      'photos',
      ({ phase, version }) => phase === 'ready' && version === 2,
    );
    expect(vm.pid).not.toBe(first.pid);
    expect(statSync(dataDisk()).size).toBe(2 * MIB);
    // None of its starts was refused for want of the disk.
    expect(running.hypervisor.starts).toBe(2);
    expect(running.pool.get('photos').restarts).toBe(0);
  });

  test('comes back to the old version when the new one fails', async () => {
    running.hypervisor.failures = [poolError('image_invalid', 'it does not boot')];
    await running.pool.change({ ...request, imageRef: 'other' });
    const vm = await untilVm(running.pool, 'photos', ({ phase, failedVersion }) =>
      Boolean(failedVersion && phase === 'ready'),
    );
    expect(vm).toMatchObject({ version: 1, failedVersion: { version: 2, reason: 'it does not boot' } });
    expect((await running.hypervisor.takeOver()).machines).toHaveLength(1);
  });

  test('does not shrink: a version with less is refused, and one to go back to sees all of it', async () => {
    const larger = { ...request, configuration: { ...SMALL, diskBytes: 2 * MIB } };
    await running.pool.change(larger);
    await untilVm(running.pool, 'photos', ({ phase, version }) => phase === 'ready' && version === 2);
    for (const diskBytes of [MIB, 0]) {
      await expect(
        running.pool.change({ ...request, configuration: { ...SMALL, diskBytes } }),
      ).rejects.toMatchObject({ code: 'configuration_too_small', message: expect.stringContaining('2 MiB') });
    }
    await running.pool.rollBack('photos', 'photos');
    await untilVm(running.pool, 'photos', ({ phase, version }) => phase === 'ready' && version === 3);
    expect(statSync(dataDisk()).size).toBe(2 * MIB);
  });

  test('is not there for versions that have none: those serve until the next is ready', async () => {
    const plain = { ...request, name: 'plain', configuration: SMALL };
    await running.pool.create(plain);
    const { pid } = await untilVm(running.pool, 'plain', isReady);
    const seen = new Set<number | undefined>();
    using _watch = running.pool.subscribe(() => void seen.add(running.pool.get('plain').pid));
    await running.pool.change({ ...plain, imageRef: 'other' });
    await untilVm(running.pool, 'plain', ({ version }) => version === 2);
    expect(seen).toContain(pid);
    expect(seen).not.toContain(undefined);
    expect(existsSync(join(folder, 'vms', 'plain'))).toBe(false);
  });
});
