import { mkdtempSync, rmSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { afterAll, describe, expect, test } from 'vitest';
import { storeSuite } from '../../../test/support/store-suite.ts';
import { openStore } from './store.ts';

const folder = mkdtempSync(join(tmpdir(), 'orilla-store-'));
afterAll(() => rmSync(folder, { recursive: true }));

let count = 0;
const newLocation = (): string => {
  count += 1;
  return join(folder, `${count}.db`);
};

describe('a store in a SQLite file', () => {
  storeSuite({ newLocation, damage: (location) => writeFile(location, 'not a database '.repeat(500)) });

  test('is store_unusable where there is no folder, and where a folder has its name', async () => {
    const location = newLocation();
    await mkdir(location);
    for (const unusable of [location, join(location, 'no', 'such.db')]) {
      await expect(openStore(unusable, [])).rejects.toMatchObject({
        code: 'store_unusable',
        message: expect.stringContaining(unusable),
      });
    }
  });

  test('tells why SQLite itself ended a transaction, as it does on a full disk', async () => {
    await using store = await openStore<{ t: { id: number } }>(newLocation(), []);
    await sql`create table t (id integer primary key)`.execute(store.db);
    const ended = store.transaction(async (transaction) => {
      await sql`insert into t values (1)`.execute(transaction);
      await sql`insert or rollback into t values (1)`.execute(transaction);
    });
    await expect(ended).rejects.toThrow(/UNIQUE constraint failed/);
    expect(await store.db.selectFrom('t').selectAll().execute()).toEqual([]);
    await sql`pragma max_page_count=3`.execute(store.db);
    const filling = store.transaction((transaction) =>
      sql`create table big as select randomblob(1000000) as octets`.execute(transaction),
    );
    await expect(filling).rejects.toMatchObject({ code: 'store_full', status: 507 });
  });

  test('has SQLite write through to the disk before it answers', async () => {
    // A loss of power cannot be tried here; that the setting is made can be seen (2 is FULL).
    await using store = await openStore(newLocation(), []);
    expect((await sql`pragma synchronous`.execute(store.db)).rows).toEqual([{ synchronous: 2 }]);
    expect((await sql`pragma journal_mode`.execute(store.db)).rows).toEqual([{ journal_mode: 'wal' }]);
  });

  test('streams rows', async () => {
    await using store = await openStore<{ t: { id: number } }>(newLocation(), []);
    await sql`create table t (id integer primary key)`.execute(store.db);
    await sql`insert into t values (1), (2), (3)`.execute(store.db);
    const ids: number[] = [];
    for await (const { id } of store.db.selectFrom('t').selectAll().stream()) ids.push(id);
    expect(ids).toEqual([1, 2, 3]);
  });
});
