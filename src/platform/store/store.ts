import { DatabaseSync } from 'node:sqlite';
import { Kysely, sql } from 'kysely';
import { type CodedError, hasCode, messageOf } from '../../base/index.ts';
import { storeError } from './errors.ts';
import { NodeSqliteDialect } from './sqlite-dialect.ts';

/**
 * One step of a capability's tables. Steps run in the order in which they are handed in, each in a transaction of its
 * own; an id never changes and is never used again.
 */
export interface Migration {
  /** `pool-001-vms` */
  readonly id: string;
  up(db: Kysely<unknown>): Promise<void>;
}

/**
 * The truth of one Orilla: what was answered is on the disk, also after a loss of power.
 *
 * Repositories take `db` or the transaction that they are part of; both are Kysely's.
 */
export interface Store<Tables> extends AsyncDisposable {
  readonly db: Kysely<Tables>;
  /**
   * Runs `work` in a transaction: all of it is kept, or, when it throws, nothing. Inside, only `transaction` is used: `db`
   * waits until it is over.
   *
   * @throws `store_full` when its disk is, and what `work` throws.
   */
  transaction<Result>(work: (transaction: Kysely<Tables>) => Promise<Result>): Promise<Result>;
  close(): Promise<void>;
}

/**
 * Opens the store and brings its tables up to date.
 *
 * @param location a file for SQLite.
 * @throws `store_in_use` when another process has it open, `store_newer` when a newer program wrote it,
 *   `store_unusable` when it cannot be read or written.
 */
export async function openStore<Tables>(
  location: string,
  migrations: readonly Migration[],
): Promise<Store<Tables>> {
  const db = new Kysely<Tables>({ dialect: new NodeSqliteDialect(() => openSqlite(location)) });
  try {
    await migrate(db as Kysely<unknown>, migrations, location);
  } catch (error) {
    await db.destroy().catch(() => undefined);
    throw hasCode(error) && error.code !== 'store_full' ? error : unusable(location, error);
  }
  const close = () => db.destroy();
  return {
    db,
    transaction: (work) => db.transaction().execute(work),
    close,
    [Symbol.asyncDispose]: close,
  };
}

function openSqlite(location: string): DatabaseSync {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(location);
    // EXCLUSIVE: the lock is held as long as the process lives and the kernel takes it back after `kill -9`, so two
    // processes never run on one data folder. FULL: an answered write survives a loss of power.
    database.exec('pragma locking_mode=exclusive; pragma journal_mode=wal; pragma synchronous=full');
    database.exec('pragma foreign_keys=on; begin immediate; commit');
    return database;
  } catch (error) {
    database?.close();
    // SQLITE_BUSY (5): https://www.sqlite.org/rescode.html
    if ((error as { errcode?: number }).errcode === 5) {
      throw storeError('store_in_use', `${location} is in use by another Orilla process`, error);
    }
    throw unusable(location, error);
  }
}

const unusable = (location: string, error: unknown): CodedError =>
  storeError('store_unusable', `${location} cannot be used as a database: ${messageOf(error)}`, error);

interface MigrationTable {
  orilla_migration: { id: string; position: number };
}

async function migrate(
  db: Kysely<unknown>,
  migrations: readonly Migration[],
  location: string,
): Promise<void> {
  await sql`create table if not exists orilla_migration (id text primary key, position integer not null)`.execute(
    db,
  );
  const table = db as Kysely<MigrationTable>;
  const applied = await table.selectFrom('orilla_migration').select('id').orderBy('position').execute();
  const known = new Set(migrations.map(({ id }) => id));
  const unknown = applied.filter(({ id }) => !known.has(id)).map(({ id }) => id);
  if (unknown.length > 0) {
    throw storeError(
      'store_newer',
      `${location} was written by a newer Orilla (it has ${unknown.join(', ')}); run that one or a later one`,
    );
  }
  const done = new Set(applied.map(({ id }) => id));
  for (const [position, migration] of migrations.entries()) {
    if (done.has(migration.id)) continue;
    await db.transaction().execute(async (transaction) => {
      await migration.up(transaction);
      const own: Kysely<unknown> = transaction;
      await (own as Kysely<MigrationTable>)
        .insertInto('orilla_migration')
        .values({ id: migration.id, position })
        .execute();
    });
  }
}
