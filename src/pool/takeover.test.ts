import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { writeImageFolder } from '../../test/support/image-folder.ts';
import { ProcessHypervisor } from '../../test/support/process-hypervisor.ts';
import { temporaryFolder } from '../../test/support/temporary-folder.ts';
import { SMALL, untilVm } from '../../test/support/test-pool.ts';
import { systemClock, systemRandom } from '../base/index.ts';
import { openStore, type Store } from '../platform/store/index.ts';
import { Registry, silentLog } from '../platform/telemetry/index.ts';
import { ApplicationStore } from './applications/application-store.ts';
import { VmDisks } from './disks/vm-disks.ts';
import type { Machine } from './hypervisor/hypervisor.ts';
import { directorySource } from './images/image-source.ts';
import { ImageStore, type StoredImage } from './images/image-store.ts';
import { Pool } from './pool.ts';
import { type HttpProbe, probeHttp } from './readiness.ts';
import { type PoolTables, poolMigrations } from './tables.ts';
import { insertVm, loadMachines, loadVmRecords, saveMachine, saveVm } from './vm-table.ts';
import { firstVersion } from './vm-versions.ts';

const clock = systemClock;
const random = systemRandom;

describe('a pool that finds machines running', () => {
  let folder: string;
  let store: Store<PoolTables>;
  let images: ImageStore;
  let image: StoredImage;
  let hypervisor: ProcessHypervisor;
  let pool: Pool | undefined;
  /** Of an earlier process, as the store and the host have them. */
  let left: Machine;

  beforeEach(async () => {
    folder = await temporaryFolder();
    hypervisor = new ProcessHypervisor();
    store = await openStore<PoolTables>(join(folder, 'orilla.db'), poolMigrations);
    images = await ImageStore.open({ clock, random }, join(folder, 'images'));
    await writeImageFolder(join(folder, 'provided', 'photos'));
    const signal = new AbortController().signal;
    image = await images.import(directorySource(join(folder, 'provided', 'photos')), { signal });
    const version = firstVersion({
      imageRef: 'photos',
      imageDigest: image.digest,
      configuration: SMALL,
      ownerNote: '',
    });
    await insertVm(store.db, { name: 'photos', owner: 'photos', createdAtMs: 5, versions: version });
    left = await startMachine('photos-left');
    await saveMachine(store.db, { name: 'photos', version: 1, machineId: left.id });
  });
  afterEach(async () => {
    await pool?.close();
    await store.close();
  });

  const startMachine = (name: string) =>
    hypervisor.start(
      { name, image, configuration: SMALL },
      new AbortController().signal,
      async () => undefined,
    );
  const applications = () => new ApplicationStore({ clock, random }, join(folder, 'applications'));
  async function startPool(probe: HttpProbe = probeHttp): Promise<Pool> {
    pool = await Pool.start(
      {
        clock,
        random,
        log: silentLog,
        registry: new Registry(),
        store,
        images,
        disks: new VmDisks(join(folder, 'vms')),
        applications: applications(),
        hypervisor,
        probe,
      },
      {
        imageDirectoryRoot: join(folder, 'provided'),
        imageHosts: () => [],
        maxVms: 4,
        maxVmsOf: () => 4,
        savedFolder: join(folder, 'saved'),
        readyTimeoutMs: 20_000,
      },
    );
    return pool;
  }

  test('has the VM ready from the first on, with its process and no restart', async () => {
    const started = await startPool();
    const { pid, addresses } = left;
    expect(started.get('photos')).toMatchObject({ phase: 'ready', pid, addresses, restarts: 0 });
    expect(await started.consoleTail('photos')).not.toBe('');
    expect(hypervisor.starts).toBe(1);
    await started.remove('photos');
    expect(await left.exited).toContain('SIGKILL');
    expect(await loadMachines(store.db)).toEqual([]);
  });

  test('starts the VM again when that machine dies, and records the new one before it runs', async () => {
    const started = await startPool();
    process.kill(left.pid, 'SIGKILL');
    const vm = await untilVm(started, 'photos', ({ phase, pid }) => phase === 'ready' && pid !== left.pid);
    expect(vm.restarts).toBe(1);
    const [place] = await loadMachines(store.db);
    expect(place).toMatchObject({ name: 'photos', version: 1 });
    expect((await hypervisor.takeOver()).machines).toMatchObject([{ id: place?.machineId, pid: vm.pid }]);
  });

  test('ends one that the store does not name, before it starts another', async () => {
    await saveMachine(store.db, { name: 'photos', version: 1, machineId: 'photos-never-started' });
    const started = await startPool();
    expect(await left.exited).toContain('SIGKILL');
    const vm = await untilVm(started, 'photos', ({ phase }) => phase === 'ready');
    expect(vm).toMatchObject({ restarts: 0 });
    expect((await hypervisor.takeOver()).machines).toMatchObject([{ pid: vm.pid }]);
  });

  test('ends one whose guest gives no sign of life, and starts the VM again', async () => {
    let looks = 0;
    const started = await startPool(async (...look) => {
      looks += 1;
      return looks > 1 && probeHttp(...look);
    });
    expect(await left.exited).toContain('SIGKILL');
    const vm = await untilVm(started, 'photos', ({ phase }) => phase === 'ready');
    expect(vm).toMatchObject({ restarts: 1 });
  });

  test('forgets that one was to be suspended, and what was written of it, when it runs', async () => {
    const [record] = await loadVmRecords(store.db);
    await saveVm(store.db, { ...record!, suspendedBy: 'operator' });
    await mkdir(join(folder, 'saved', 'photos', 'suspended-1'), { recursive: true });
    const started = await startPool();
    expect(started.get('photos')).toMatchObject({ phase: 'ready', restarts: 0 });
    expect(await loadVmRecords(store.db)).toMatchObject([{ suspendedBy: undefined }]);
    expect(await readdir(join(folder, 'saved', 'photos'))).toEqual([]);
  });

  test('leaves none running when it is closed at once', async () => {
    await (await startPool()).close();
    expect(await left.exited).toContain('SIGKILL');
    expect((await hypervisor.takeOver()).machines).toEqual([]);
  });
});
