import type { Kysely } from 'kysely';
import { z } from 'zod';

/** Which images an owner's VMs ran from. */
export interface ImageTables {
  pool_image: {
    owner: string;
    digest: string;
    /** 1 when it came here for this owner's VM, 0 when it was here. */
    was_fetched: number;
    used_at_ms: number;
    withdrawn_at_ms: number | null;
  };
}

type Db = Kysely<ImageTables>;

/** Of each owner, those that it used last; withdrawn ones with them. */
const REMEMBERED_IMAGES = 1000;

export interface ImageUse {
  readonly owner: string;
  readonly digest: string;
  readonly wasFetched: boolean;
  readonly usedAtMs: number;
  readonly isWithdrawn: boolean;
}

export async function recordImageUse(
  db: Db,
  use: Pick<ImageUse, 'owner' | 'digest' | 'wasFetched' | 'usedAtMs'>,
): Promise<void> {
  const { owner, digest, wasFetched, usedAtMs } = use;
  await db
    .insertInto('pool_image')
    .values({ owner, digest, was_fetched: Number(wasFetched), used_at_ms: usedAtMs, withdrawn_at_ms: null })
    .onConflict((conflict) =>
      conflict.columns(['owner', 'digest']).doUpdateSet({
        used_at_ms: usedAtMs,
        ...(wasFetched && { was_fetched: 1 }),
      }),
    )
    .execute();
  await db
    .deleteFrom('pool_image')
    .where('owner', '=', owner)
    .where('digest', 'not in', (from) =>
      from
        .selectFrom('pool_image as latest')
        .select('latest.digest')
        .where('latest.owner', '=', owner)
        .orderBy('latest.used_at_ms', 'desc')
        .limit(REMEMBERED_IMAGES),
    )
    .execute();
}

export async function loadImageUses(db: Db): Promise<ImageUse[]> {
  return (await db.selectFrom('pool_image').selectAll().execute()).map((row) => useOf(row));
}

export async function findImageUse(db: Db, owner: string, digest: string): Promise<ImageUse | undefined> {
  const row = await db
    .selectFrom('pool_image')
    .selectAll()
    .where('owner', '=', owner)
    .where('digest', '=', digest)
    .executeTakeFirst();
  return row && useOf(row);
}

export async function recordWithdrawal(
  db: Db,
  { owner, digest }: Pick<ImageUse, 'owner' | 'digest'>,
  nowMs: number,
): Promise<void> {
  await db
    .updateTable('pool_image')
    .set({ withdrawn_at_ms: nowMs })
    .where('owner', '=', owner)
    .where('digest', '=', digest)
    .where('withdrawn_at_ms', 'is', null)
    .execute();
}

/** Forgets uses of images that are not here any more, but no withdrawal. */
export async function forgetImageUses(db: Db, digest: string): Promise<void> {
  await db
    .deleteFrom('pool_image')
    .where('digest', '=', digest)
    .where('withdrawn_at_ms', 'is', null)
    .execute();
}

const rowSchema = z.object({
  owner: z.string(),
  digest: z.string(),
  was_fetched: z.number(),
  // PostgreSQL's driver gives a bigint as text.
  used_at_ms: z.coerce.number(),
  withdrawn_at_ms: z.unknown(),
});

function useOf(row: unknown): ImageUse {
  const { owner, digest, was_fetched, used_at_ms, withdrawn_at_ms } = rowSchema.parse(row);
  return {
    owner,
    digest,
    wasFetched: was_fetched === 1,
    usedAtMs: used_at_ms,
    isWithdrawn: withdrawn_at_ms !== null,
  };
}
