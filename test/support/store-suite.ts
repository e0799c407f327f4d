import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { type Migration, openStore } from '../../src/platform/store/index.ts';

interface Tables {
  note: { id: number; text: string };
}

const NOTES: Migration = {
  id: 'notes-001',
  up: async (db) => {
    await db.schema
      .createTable('note')
      .addColumn('id', 'integer', (column) => column.primaryKey())
      .addColumn('text', 'text', (column) => column.notNull())
      .execute();
  },
};

export interface StoreSuiteOptions {
  /** A place in which nothing was stored yet. */
  readonly newLocation: () => string;
  /** Overwrites what is stored there with what is no database. */
  readonly damage: (location: string) => Promise<void>;
}

/** What every store must do, whatever the location makes `openStore` choose. */
export function storeSuite({ newLocation, damage }: StoreSuiteOptions): void {
  const open = (location: string, migrations: readonly Migration[] = [NOTES]) =>
    openStore<Tables>(location, migrations);
  const idsIn = async (location: string): Promise<number[]> => {
    await using store = await open(location);
    return (await store.db.selectFrom('note').select('id').orderBy('id').execute()).map(({ id }) => id);
  };

  test('keeps rows, changes them, and tells how many it changed', async () => {
    await using store = await open(newLocation());
    const { db } = store;
    await db
      .insertInto('note')
      .values([
        { id: 1, text: 'one' },
        { id: 2, text: 'grün "and" \'quoted\'' },
      ])
      .execute();
    const changed = await db.updateTable('note').set({ text: 'uno' }).where('id', '=', 1).executeTakeFirst();
    expect(changed.numUpdatedRows).toBe(1n);
    expect(await db.selectFrom('note').selectAll().orderBy('id').execute()).toEqual([
      { id: 1, text: 'uno' },
      { id: 2, text: 'grün "and" \'quoted\'' },
    ]);
    expect(await db.deleteFrom('note').where('id', '=', 2).returning('text').executeTakeFirst()).toEqual({
      text: 'grün "and" \'quoted\'',
    });
  });

  test('keeps what was written over a close, however often that is called', async () => {
    const location = newLocation();
    const store = await open(location);
    await store.db.insertInto('note').values({ id: 1, text: 'kept' }).execute();
    await Promise.all([store.close(), store.close()]);
    await store.close();
    expect(await idsIn(location)).toEqual([1]);
  });

  test('keeps all of a transaction, or nothing when it throws', async () => {
    await using store = await open(newLocation());
    const insert = (ids: readonly number[], end: () => string) =>
      store.transaction(async (transaction) => {
        for (const id of ids) await transaction.insertInto('note').values({ id, text: 'x' }).execute();
        return end();
      });
    expect(await insert([1, 2], () => 'done')).toBe('done');
    const failing = insert([3, 4], () => {
      throw new Error('changed my mind');
    });
    await expect(failing).rejects.toThrow('changed my mind');
    await expect(insert([5, 1], () => 'a key twice')).rejects.toThrow(/unique/i);
    expect((await store.db.selectFrom('note').select('id').execute()).map(({ id }) => id)).toEqual([1, 2]);
  });

  test('lets concurrent transactions take turns, so that none loses what another wrote', async () => {
    await using store = await open(newLocation());
    await store.db.insertInto('note').values({ id: 1, text: '0' }).execute();
    const increment = () =>
      store.transaction(async (transaction) => {
        const { text } = await transaction.selectFrom('note').select('text').executeTakeFirstOrThrow();
        // Others get every chance to come between the read and the write.
        for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
        await transaction
          .updateTable('note')
          .set({ text: String(Number(text) + 1) })
          .execute();
      });
    await Promise.all(Array.from({ length: 25 }, increment));
    expect(await store.db.selectFrom('note').select('text').executeTakeFirst()).toEqual({ text: '25' });
  });

  test('refuses all who still wait for their turn when it is closed, and keeps nobody waiting', async () => {
    const location = newLocation();
    const store = await open(location);
    const entered = Promise.withResolvers<void>();
    const held = Promise.withResolvers<void>();
    const write = (id: number) => store.db.insertInto('note').values({ id, text: 'x' }).execute();
    const holding = store.transaction(async (transaction) => {
      await transaction.insertInto('note').values({ id: 1, text: 'x' }).execute();
      entered.resolve();
      await held.promise;
    });
    await entered.promise;
    const all = Promise.allSettled([holding, write(2), write(3), store.transaction(() => write(4))]);
    await store.close();
    held.resolve();
    expect((await all).map(({ status }) => status)).toEqual(Array.from({ length: 4 }, () => 'rejected'));
    expect(await idsIn(location)).toEqual([]);
  });

  test('runs migrations in order, each once, and those that are new at the next open', async () => {
    const location = newLocation();
    const ran: string[] = [];
    const step = (id: string): Migration => ({ id, up: async () => void ran.push(id) });
    await (await open(location, [step('b'), step('a')])).close();
    await (await open(location, [step('b'), step('a')])).close();
    await (await open(location, [step('b'), step('a'), step('c')])).close();
    expect(ran).toEqual(['b', 'a', 'c']);
  });

  test('leaves nothing of a migration that fails half way, and keeps those before it', async () => {
    const location = newLocation();
    const broken: Migration = {
      id: 'notes-002',
      up: async (db) => {
        await db.schema.createTable('leftover').addColumn('id', 'integer').execute();
        throw new Error('the second half is broken');
      },
    };
    await expect(open(location, [NOTES, broken])).rejects.toMatchObject({
      code: 'store_unusable',
      message: expect.stringContaining('the second half is broken'),
    });
    const mended: Migration = {
      id: 'notes-002',
      up: async (db) => {
        await db.schema.createTable('leftover').addColumn('id', 'integer').execute();
      },
    };
    await using store = await open(location, [NOTES, mended]);
    await store.db.insertInto('note').values({ id: 1, text: 'x' }).execute();
  });

  test('refuses with store_newer what a newer program wrote, and leaves it as it was', async () => {
    const location = newLocation();
    const newer: Migration = { id: 'notes-002', up: async () => undefined };
    await (await open(location, [NOTES, newer])).close();
    await expect(open(location, [NOTES])).rejects.toMatchObject({
      code: 'store_newer',
      message: expect.stringContaining('notes-002'),
    });
    await (await open(location, [NOTES, newer])).close();
  });

  test('refuses with store_unusable what is no database', async () => {
    const location = newLocation();
    await (await open(location)).close();
    await damage(location);
    await expect(open(location)).rejects.toMatchObject({
      code: 'store_unusable',
      message: expect.stringContaining(location),
    });
  });

  test('keeps every write that was answered before its process was killed', async () => {
    const location = newLocation();
    await (await open(location)).close();
    const { child, lines } = await startWriter(location, 5);
    child.kill('SIGKILL');
    const answered = (await lines).map(Number);
    const kept = await idsIn(location);
    // One more may have been written whose answer nobody heard.
    expect(kept.slice(0, answered.length)).toEqual(answered);
    expect(kept.length - answered.length).toBeLessThanOrEqual(1);
  });

  test('refuses with store_in_use what another process has open, until that one is gone', async () => {
    const location = newLocation();
    await (await open(location)).close();
    const { child, lines } = await startWriter(location, 1, { lastId: 1 });
    try {
      await expect(open(location)).rejects.toMatchObject({ code: 'store_in_use' });
    } finally {
      child.kill('SIGKILL');
    }
    await lines;
    expect(await idsIn(location)).toEqual([1]);
  });
}

/** Writes one row after the other and says each one's id once the store has answered; stays when it is done. */
const WRITER = `
const [module, location, lastId] = process.argv.slice(1);
const { openStore } = await import(module);
const store = await openStore(location, [{ id: 'notes-001', up: async () => { throw new Error('ran twice'); } }]);
setInterval(() => {}, 60_000);
for (let id = 1; id <= Number(lastId); id += 1) {
  await store.db.insertInto('note').values({ id, text: 'x'.repeat(100) }).execute();
  process.stdout.write(id + '\\n');
}
`;

/** Starts a writer in a process of its own; resolves once it has said `count` lines. `lines` are all that it said. */
async function startWriter(
  location: string,
  count: number,
  { lastId = 1_000_000 } = {},
): Promise<{ child: ChildProcess; lines: Promise<string[]> }> {
  const module = pathToFileURL(
    join(import.meta.dirname, '..', '..', 'src', 'platform', 'store', 'index.ts'),
  ).href;
  const args = ['--input-type=module', '-e', WRITER, module, location, String(lastId)];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const closed = once(child, 'close');
  let said = '';
  const complete = () => said.split('\n').slice(0, -1);
  const heard = new Promise<void>((resolve, reject) => {
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      if (complete().length >= count) resolve();
    });
    closed.then(() => reject(new Error('the writer ended before it was to')), reject);
  });
  await heard;
  return { child, lines: closed.then(complete) };
}
