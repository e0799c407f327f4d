import type { Kysely } from 'kysely';
import { z } from 'zod';
import type { Migration } from '../platform/store/index.ts';
import { configurationSchema } from './schema.ts';
import type { VmSpec } from './vm-supervisor.ts';

/** The pool's tables. A row of `pool_vm` is a VM that is wanted; the row goes when the VM is stopped. */
export interface PoolTables {
  pool_vm: {
    name: string;
    owner: string;
    image_ref: string;
    image_digest: string | null;
    /** JSON of a configuration. */
    configuration: string;
    owner_note: string;
    created_at_ms: number;
  };
}

export const poolMigrations: readonly Migration[] = [
  {
    id: 'pool-001-vm',
    up: async (db) => {
      await db.schema
        .createTable('pool_vm')
        .addColumn('name', 'text', (column) => column.primaryKey())
        .addColumn('owner', 'text', (column) => column.notNull())
        .addColumn('image_ref', 'text', (column) => column.notNull())
        .addColumn('image_digest', 'text')
        .addColumn('configuration', 'text', (column) => column.notNull())
        .addColumn('owner_note', 'text', (column) => column.notNull())
        .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
        .execute();
    },
  },
];

const rowSchema = z.object({
  name: z.string(),
  owner: z.string(),
  image_ref: z.string(),
  image_digest: z.string().nullable(),
  configuration: z
    .string()
    .transform((text) => JSON.parse(text) as unknown)
    .pipe(configurationSchema),
  owner_note: z.string(),
  // PostgreSQL's driver gives a bigint as text.
  created_at_ms: z.coerce.number(),
});

export async function loadVmSpecs(db: Kysely<PoolTables>): Promise<VmSpec[]> {
  const rows = await db.selectFrom('pool_vm').selectAll().orderBy('created_at_ms').execute();
  return rows.map((row) => {
    const { name, owner, configuration, ...rest } = rowSchema.parse(row);
    return {
      name,
      owner,
      configuration,
      imageRef: rest.image_ref,
      imageDigest: rest.image_digest ?? undefined,
      ownerNote: rest.owner_note,
      createdAtMs: rest.created_at_ms,
    };
  });
}

export async function insertVmSpec(db: Kysely<PoolTables>, spec: VmSpec): Promise<void> {
  await db
    .insertInto('pool_vm')
    .values({
      name: spec.name,
      owner: spec.owner,
      image_ref: spec.imageRef,
      image_digest: spec.imageDigest ?? null,
      configuration: JSON.stringify(spec.configuration),
      owner_note: spec.ownerNote,
      created_at_ms: spec.createdAtMs,
    })
    .execute();
}

/** Pins the VM to the image that was found behind its reference, so that a later start runs the same one. */
export async function recordImageDigest(db: Kysely<PoolTables>, name: string, digest: string): Promise<void> {
  await db.updateTable('pool_vm').set({ image_digest: digest }).where('name', '=', name).execute();
}

export async function recordOwnerNote(db: Kysely<PoolTables>, name: string, note: string): Promise<void> {
  await db.updateTable('pool_vm').set({ owner_note: note }).where('name', '=', name).execute();
}

export async function deleteVmSpec(db: Kysely<PoolTables>, name: string): Promise<void> {
  await db.deleteFrom('pool_vm').where('name', '=', name).execute();
}
