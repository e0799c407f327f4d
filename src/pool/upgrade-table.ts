import type { Kysely } from 'kysely';
import { type Upgrade, upgradeSchema } from './schema.ts';

export interface UpgradeTables {
  /** `record`: JSON of an upgrade. */
  pool_upgrade: { id: string; status: Upgrade['status']; record: string; created_at_ms: number };
}

export async function loadRunningUpgrades(db: Kysely<UpgradeTables>): Promise<Upgrade[]> {
  const rows = await db.selectFrom('pool_upgrade').select('record').where('status', '=', 'running').execute();
  return rows.map(({ record }) => upgradeSchema.parse(JSON.parse(record)));
}

export async function findUpgrade(db: Kysely<UpgradeTables>, id: string): Promise<Upgrade | undefined> {
  const row = await db.selectFrom('pool_upgrade').select('record').where('id', '=', id).executeTakeFirst();
  return row && upgradeSchema.parse(JSON.parse(row.record));
}

export async function insertUpgrade(db: Kysely<UpgradeTables>, upgrade: Upgrade): Promise<void> {
  const { id, status, createdAtMs } = upgrade;
  await db
    .insertInto('pool_upgrade')
    .values({ id, status, record: JSON.stringify(upgrade), created_at_ms: createdAtMs })
    .execute();
}

export async function saveUpgrade(db: Kysely<UpgradeTables>, upgrade: Upgrade): Promise<void> {
  const { id, status } = upgrade;
  await db
    .updateTable('pool_upgrade')
    .set({ status, record: JSON.stringify(upgrade) })
    .where('id', '=', id)
    .execute();
}

/** Forgets those that are over, but for the newest so many. */
export async function pruneUpgrades(db: Kysely<UpgradeTables>, keptCount: number): Promise<void> {
  const over = await db
    .selectFrom('pool_upgrade')
    .select('id')
    .where('status', '!=', 'running')
    .orderBy('created_at_ms', 'desc')
    .offset(keptCount)
    .limit(keptCount)
    .execute();
  for (const { id } of over) await db.deleteFrom('pool_upgrade').where('id', '=', id).execute();
}
