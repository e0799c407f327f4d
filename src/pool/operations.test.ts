import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { temporaryFolder } from '../../test/support/temporary-folder.ts';
import { ManualClock, systemRandom } from '../base/index.ts';
import { openStore, type Store } from '../platform/store/index.ts';
import { silentLog } from '../platform/telemetry/index.ts';
import { Operations } from './operations.ts';
import type { Vm } from './schema.ts';
import { type PoolTables, poolMigrations } from './tables.ts';

const HOUR_MS = 3_600_000;

let clock: ManualClock;
let store: Store<PoolTables>;
let operations: Operations;

beforeEach(async () => {
  clock = new ManualClock();
  store = await openStore<PoolTables>(join(await temporaryFolder(), 'orilla.db'), poolMigrations);
  operations = await Operations.open({ clock, random: systemRandom, log: silentLog, store });
});
afterEach(() => store.close());

/** An operation that runs, for a VM of its own. */
async function begin(owner: string, key?: string) {
  const request = key === undefined ? undefined : { owner, key, fingerprint: 'a' };
  return operations.once(request, async () => {
    const { operation, also } = operations.prepare({ owner, kind: 'load', vm: owner, version: 1 }, request);
    await store.transaction(also);
    operations.began(operation);
    return operation;
  });
}
const finishAll = async () => {
  operations.observe(() => ({ version: 1, phase: 'ready' }) as Vm);
  await operations.close();
};
const count = async (table: 'pool_operation' | 'pool_request') =>
  (await store.db.selectFrom(table).select('owner').execute()).length;

test('an operation that is over, and the key of its request, are forgotten after a day', async () => {
  const first = await begin('photos', 'k');
  await finishAll();
  await clock.advance(24 * HOUR_MS);
  expect((await begin('photos', 'k')).id).toBe(first.id);
  await clock.advance(1);
  // As if it had never been seen; what is new then takes its place.
  const second = await begin('photos', 'k');
  expect(second.id).not.toBe(first.id);
  await expect(operations.get('photos', first.id)).rejects.toMatchObject({ code: 'operation_not_found' });
  expect(await count('pool_request')).toBe(1);
});

test('an operation that runs is not forgotten, however old it is', async () => {
  const { id } = await begin('photos');
  await clock.advance(48 * HOUR_MS);
  await begin('other');
  expect(await operations.get('photos', id)).toMatchObject({ status: 'running' });
  expect(await count('pool_operation')).toBe(2);
});

test('of one owner the latest 256 are remembered, and no other owner’s are lost for it', async () => {
  const other = await begin('other', 'k');
  await finishAll();
  for (let index = 0; index < 300; index += 1) {
    await begin('photos', `k${index}`);
    await finishAll();
    await clock.advance(1);
  }
  expect(await count('pool_operation')).toBe(257);
  expect(await count('pool_request')).toBe(257);
  expect(await operations.get('other', other.id)).toMatchObject({ status: 'succeeded' });
});

test('a clock that is set back has none forgotten that comes after', async () => {
  for (let index = 0; index < 256; index += 1) {
    await begin('photos', `k${index}`);
    await finishAll();
    await clock.advance(1);
  }
  clock.set(-5 * HOUR_MS);
  const after = await begin('photos', 'after');
  await finishAll();
  await clock.advance(1);
  await begin('photos', 'later');
  expect((await begin('photos', 'after')).id).toBe(after.id);
  expect(await operations.get('photos', after.id)).toMatchObject({ status: 'succeeded' });
});

test('operations go on at the next start where they were', async () => {
  const { id } = await begin('photos');
  const next = await Operations.open({ clock, random: systemRandom, log: silentLog, store });
  expect(await next.get('photos', id)).toMatchObject({ status: 'running' });
  next.observe(() => undefined);
  await next.close();
  expect(await next.get('photos', id)).toMatchObject({ status: 'cancelled', reason: 'the VM was stopped' });
});
