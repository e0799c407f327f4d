import { join } from 'node:path';
import { systemClock, systemRandom } from '../../src/base/index.ts';
import { openStore, type Store } from '../../src/platform/store/index.ts';
import { Registry, silentLog } from '../../src/platform/telemetry/index.ts';
import {
  ApplicationStore,
  ImageStore,
  Pool,
  type PoolOptions,
  type PoolTables,
  poolMigrations,
  VmDisks,
} from '../../src/pool/index.ts';
import { writeImageFolder } from './image-folder.ts';
import { ProcessHypervisor } from './process-hypervisor.ts';

export const SMALL = { cpus: 1, memoryBytes: 2 ** 27, diskBytes: 0 };

/** A pool on real disks with processes for machines, and one image that may be named `photos`. */
export async function startTestPool(folder: string, options: Partial<PoolOptions> = {}) {
  const hypervisor = new ProcessHypervisor();
  const clock = systemClock;
  const random = systemRandom;
  const registry = new Registry();
  const store: Store<PoolTables> = await openStore<PoolTables>(join(folder, 'orilla.db'), poolMigrations);
  const images = await ImageStore.open({ clock, random }, join(folder, 'images'));
  const disks = new VmDisks(join(folder, 'vms'));
  const digest = await writeImageFolder(join(folder, 'provided', 'photos'));
  const applications = new ApplicationStore({ clock, random }, join(folder, 'applications'));
  const pool = await Pool.start(
    { clock, random, log: silentLog, registry, store, images, disks, applications, hypervisor },
    {
      imageDirectoryRoot: join(folder, 'provided'),
      imageHosts: () => [],
      maxVms: 4,
      maxVmsOf: (owner) => (owner === 'photos' ? 3 : 4),
      savedFolder: join(folder, 'saved'),
      readyTimeoutMs: 20_000,
      ...options,
    },
  );
  return {
    pool,
    hypervisor,
    images,
    applications,
    registry,
    digest,
    close: async () => {
      await pool.close();
      await store.close();
    },
  };
}

/** Waits until the VM is as wanted; the test's own timeout is the limit. */
export async function untilVm(pool: Pool, name: string, isWanted: (vm: ReturnType<Pool['get']>) => boolean) {
  const { promise, resolve } = Promise.withResolvers<void>();
  const look = () => {
    if (pool.list().some((vm) => vm.name === name && isWanted(vm))) resolve();
  };
  using _subscription = pool.subscribe(look);
  look();
  await promise;
  return pool.get(name);
}
