import type { Kysely } from 'kysely';
import { z } from 'zod';
import { type Operation, operationSchema } from './schema.ts';

export interface OperationTables {
  pool_operation: {
    id: string;
    owner: string;
    kind: string;
    vm: string;
    version: number;
    status: string;
    reason: string | null;
    created_at_ms: number;
    finished_at_ms: number | null;
  };
  /** Which operation a request with a key of its own began or joined. */
  pool_request: {
    owner: string;
    request_key: string;
    /** Of what was asked: the same key for something else is a mistake. */
    fingerprint: string;
    operation_id: string;
    created_at_ms: number;
  };
}

/** A request that can be told from others: by its owner's key. */
export interface RequestKey {
  readonly owner: string;
  readonly key: string;
  readonly fingerprint: string;
}

type Db = Kysely<OperationTables>;

export async function insertOperation(db: Db, operation: Operation): Promise<void> {
  const { createdAtMs, finishedAtMs, reason, ...rest } = operation;
  const row = {
    ...rest,
    reason: reason ?? null,
    created_at_ms: createdAtMs,
    finished_at_ms: finishedAtMs ?? null,
  };
  await db.insertInto('pool_operation').values(row).execute();
}

export async function finishOperation(
  db: Db,
  { id, status, reason, finishedAtMs }: Operation,
): Promise<void> {
  await db
    .updateTable('pool_operation')
    .set({ status, reason: reason ?? null, finished_at_ms: finishedAtMs ?? null })
    .where('id', '=', id)
    .execute();
}

export async function loadRunningOperations(db: Db): Promise<Operation[]> {
  const rows = await db.selectFrom('pool_operation').selectAll().where('status', '=', 'running').execute();
  return rows.map((row) => rowSchema.parse(row));
}

export async function findOperation(db: Db, id: string): Promise<Operation | undefined> {
  const row = await db.selectFrom('pool_operation').selectAll().where('id', '=', id).executeTakeFirst();
  return row && rowSchema.parse(row);
}

/** The latest that was to bring this version. */
export async function latestOperation(db: Db, vm: string, version: number): Promise<Operation | undefined> {
  const row = await db
    .selectFrom('pool_operation')
    .selectAll()
    .where('vm', '=', vm)
    .where('version', '=', version)
    .orderBy('created_at_ms', 'desc')
    .orderBy('id', 'desc')
    .limit(1)
    .executeTakeFirst();
  return row && rowSchema.parse(row);
}

export async function findRequest(
  db: Db,
  { owner, key }: RequestKey,
  sinceMs: number,
): Promise<{ fingerprint: string; operationId: string } | undefined> {
  const row = await db
    .selectFrom('pool_request')
    .selectAll()
    .where('owner', '=', owner)
    .where('request_key', '=', key)
    .where('created_at_ms', '>=', sinceMs)
    .executeTakeFirst();
  return row && { fingerprint: row.fingerprint, operationId: row.operation_id };
}

export async function insertRequest(
  db: Db,
  { owner, key, fingerprint }: RequestKey,
  operationId: string,
  nowMs: number,
): Promise<void> {
  await db
    .insertInto('pool_request')
    .values({ owner, request_key: key, fingerprint, operation_id: operationId, created_at_ms: nowMs })
    .onConflict((conflict) =>
      conflict
        .columns(['owner', 'request_key'])
        .doUpdateSet({ fingerprint, operation_id: operationId, created_at_ms: nowMs }),
    )
    .execute();
}

/** The clock was set back: what would seem to come from the future is older than what comes next. */
export async function bringToPresent(db: Db, nowMs: number): Promise<void> {
  const present = { created_at_ms: nowMs - 1 };
  await db.updateTable('pool_operation').set(present).where('created_at_ms', '>', nowMs).execute();
  await db.updateTable('pool_request').set(present).where('created_at_ms', '>', nowMs).execute();
}

/** Forgets what is old, and of one owner all but the latest; what runs stays. */
export async function pruneOperations(
  db: Db,
  owner: string,
  { sinceMs, limit }: { readonly sinceMs: number; readonly limit: number },
): Promise<void> {
  await db
    .deleteFrom('pool_operation')
    .where('status', '!=', 'running')
    .where((is) =>
      is.or([
        is('created_at_ms', '<', sinceMs),
        is.and([
          is('owner', '=', owner),
          is(
            'id',
            'not in',
            is
              .selectFrom('pool_operation as latest')
              .select('latest.id')
              .where('latest.owner', '=', owner)
              .orderBy('latest.created_at_ms', 'desc')
              .limit(limit),
          ),
        ]),
      ]),
    )
    .execute();
  await db
    .deleteFrom('pool_request')
    .where((is) =>
      is.or([
        is('created_at_ms', '<', sinceMs),
        is.and([
          is('owner', '=', owner),
          is(
            'request_key',
            'not in',
            is
              .selectFrom('pool_request as latest')
              .select('latest.request_key')
              .where('latest.owner', '=', owner)
              .orderBy('latest.created_at_ms', 'desc')
              .limit(limit),
          ),
        ]),
      ]),
    )
    .execute();
}

const rowSchema = z
  .object({
    ...operationSchema.omit({ createdAtMs: true, finishedAtMs: true, reason: true }).shape,
    reason: z.string().nullable(),
    // PostgreSQL's driver gives a bigint as text.
    created_at_ms: z.coerce.number(),
    finished_at_ms: z.coerce.number().nullable(),
  })
  .transform(
    ({ created_at_ms, finished_at_ms, reason, ...rest }): Operation => ({
      ...rest,
      reason: reason ?? undefined,
      createdAtMs: created_at_ms,
      finishedAtMs: finished_at_ms ?? undefined,
    }),
  );
