import type { Kysely } from 'kysely';
import { z } from 'zod';
import { httpServerUrl } from '../../platform/config/index.ts';
import type { Migration } from '../../platform/store/index.ts';
import { type NewOrigin, newOriginSchema } from './schema.ts';

/** The gateway's tables. A row of `gateway_origin` is an origin that was added by command; its tokens are in files. */
export interface OriginTables {
  gateway_origin: {
    name: string;
    /** JSON of a list. */
    hosts: string;
    /** A URL. */
    upstream: string;
    /** JSON of its limits; null for one that cannot load VMs. */
    offload: string | null;
    created_at_ms: number;
  };
}

export const originMigrations: readonly Migration[] = [
  {
    id: 'gateway-001-origin',
    up: async (db) => {
      await db.schema
        .createTable('gateway_origin')
        .addColumn('name', 'text', (column) => column.primaryKey())
        .addColumn('hosts', 'text', (column) => column.notNull())
        .addColumn('upstream', 'text', (column) => column.notNull())
        .addColumn('offload', 'text')
        .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
        .execute();
    },
  },
];

const json = z.string().transform((text) => JSON.parse(text) as unknown);
const rowSchema = z.object({
  name: z.string(),
  hosts: json,
  upstream: z.string(),
  offload: json.nullable().transform((offload) => offload ?? undefined),
});

export async function loadOrigins(db: Kysely<OriginTables>): Promise<NewOrigin[]> {
  const rows = await db
    .selectFrom('gateway_origin')
    .selectAll()
    .orderBy('created_at_ms')
    .orderBy('name')
    .execute();
  return rows.map((row) => newOriginSchema.parse(rowSchema.parse(row)));
}

export async function insertOrigin(
  db: Kysely<OriginTables>,
  origin: NewOrigin,
  createdAtMs: number,
): Promise<void> {
  await db
    .insertInto('gateway_origin')
    .values({
      name: origin.name,
      hosts: JSON.stringify(origin.hosts),
      upstream: httpServerUrl(origin.upstream),
      offload: origin.offload ? JSON.stringify(origin.offload) : null,
      created_at_ms: createdAtMs,
    })
    .execute();
}

export async function deleteOrigin(db: Kysely<OriginTables>, name: string): Promise<void> {
  await db.deleteFrom('gateway_origin').where('name', '=', name).execute();
}
