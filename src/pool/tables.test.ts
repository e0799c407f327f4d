import { join } from 'node:path';
import { expect, test } from 'vitest';
import { temporaryFolder } from '../../test/support/temporary-folder.ts';
import { openStore } from '../platform/store/index.ts';
import { type PoolTables, poolMigrations } from './tables.ts';
import { deleteVm, loadMachines, loadVmRecords, saveMachine, saveVm } from './vm-table.ts';
import { transition } from './vm-versions.ts';

test('a VM of an Orilla that knew no versions has one', async () => {
  const location = join(await temporaryFolder(), 'orilla.db');
  const configuration = { cpus: 1, memoryBytes: 2 ** 27, diskBytes: 0 };
  const before = await openStore<{ pool_vm: object }>(location, poolMigrations.slice(0, 1));
  await before.db
    .insertInto('pool_vm')
    .values({
      name: 'photos',
      owner: 'photos',
      image_ref: 'photos',
      image_digest: null,
      configuration: JSON.stringify(configuration),
      owner_note: '',
      created_at_ms: 5,
    })
    .execute();
  await before.close();

  await using store = await openStore<PoolTables>(location, poolMigrations);
  const [record] = await loadVmRecords(store.db);
  expect(record).toEqual({
    name: 'photos',
    owner: 'photos',
    createdAtMs: 5,
    versions: {
      current: { version: 1, imageRef: 'photos', imageDigest: undefined, configuration, ownerNote: '' },
      next: undefined,
      previous: undefined,
      latest: 1,
    },
  });

  // And what it becomes is kept whole.
  const wanted = { imageRef: 'second', configuration, ownerNote: 'note' };
  const versions = [
    { kind: 'pinned', version: 1, imageDigest: `sha256:${'1'.repeat(64)}` } as const,
    { kind: 'wished', wanted } as const,
    { kind: 'answered', version: 2 } as const,
    { kind: 'rolled_back' } as const,
  ].reduce(transition, record!.versions);
  expect(versions).toMatchObject({ current: { version: 2 }, next: { version: 3 }, previous: { version: 1 } });
  await store.transaction((transaction) =>
    saveVm(transaction, { name: 'photos', versions, suspendedBy: 'idleness' }),
  );
  expect(await loadVmRecords(store.db)).toEqual([{ ...record, versions, suspendedBy: 'idleness' }]);

  // A machine is kept for as long as its version is to run.
  const places = [1, 2, 3].map((version) => ({ name: 'photos', version, machineId: `photos-${version}` }));
  for (const place of places) await saveMachine(store.db, place);
  await saveMachine(store.db, { ...places[2]!, machineId: 'photos-again' });
  await store.transaction((transaction) =>
    saveVm(transaction, { name: 'photos', versions, suspendedBy: 'idleness' }),
  );
  expect(await loadMachines(store.db)).toEqual([places[1], { ...places[2], machineId: 'photos-again' }]);

  await store.transaction((transaction) => deleteVm(transaction, 'photos'));
  expect(await loadVmRecords(store.db)).toEqual([]);
  expect(await store.db.selectFrom('pool_vm_version').selectAll().execute()).toEqual([]);
  expect(await loadMachines(store.db)).toEqual([]);
});
