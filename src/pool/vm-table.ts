import type { Kysely } from 'kysely';
import { z } from 'zod';
import { configurationSchema, type SuspendedBy, suspendedBySchema } from './schema.ts';
import { numbersOf, type VmVersion, type VmVersions } from './vm-versions.ts';

/** A VM that is wanted: kept in the store before anything is done. */
export interface VmRecord {
  readonly name: string;
  readonly owner: string;
  readonly createdAtMs: number;
  readonly versions: VmVersions;
  /** Its machine is not wanted until it is resumed. */
  readonly suspendedBy?: SuspendedBy | undefined;
}

/** A row of `pool_vm` is a VM that is wanted, with its current version; the rows go when the VM is stopped. */
export interface VmTables {
  pool_vm: VersionRow & {
    name: string;
    owner: string;
    created_at_ms: number;
    latest_version: number;
    suspended_by: string | null;
  };
  pool_vm_version: VersionRow & { name: string; role: 'next' | 'previous' };
  /** The one machine that may run for a version, written before it is started. */
  pool_machine: { name: string; version: number; machine_id: string };
}

interface VersionRow {
  version: number;
  image_ref: string;
  image_digest: string | null;
  /** JSON of a configuration. */
  configuration: string;
  owner_note: string;
}

const versionSchema = z.object({
  version: z.coerce.number(),
  image_ref: z.string(),
  image_digest: z.string().nullable(),
  configuration: z
    .string()
    .transform((text) => JSON.parse(text) as unknown)
    .pipe(configurationSchema),
  owner_note: z.string(),
});
const vmSchema = z.object({
  name: z.string(),
  owner: z.string(),
  // PostgreSQL's driver gives a bigint as text.
  created_at_ms: z.coerce.number(),
  latest_version: z.coerce.number(),
  suspended_by: suspendedBySchema.nullable(),
});

/** Which machine may run for which version of which VM. */
export interface MachinePlace {
  readonly name: string;
  readonly version: number;
  readonly machineId: string;
}

export async function loadVmRecords(db: Kysely<VmTables>): Promise<VmRecord[]> {
  const rows = await db.selectFrom('pool_vm').selectAll().orderBy('created_at_ms').execute();
  const others = await db.selectFrom('pool_vm_version').selectAll().execute();
  return rows.map((row) => {
    const vm = vmSchema.parse(row);
    const other = (wanted: 'next' | 'previous') => {
      const found = others.find(({ name, role }) => name === vm.name && role === wanted);
      return found && versionOf(found);
    };
    return {
      name: vm.name,
      owner: vm.owner,
      createdAtMs: vm.created_at_ms,
      versions: {
        current: versionOf(row),
        next: other('next'),
        previous: other('previous'),
        latest: vm.latest_version,
      },
      suspendedBy: vm.suspended_by ?? undefined,
    };
  });
}

export async function insertVm(db: Kysely<VmTables>, record: VmRecord): Promise<void> {
  const { name, owner, createdAtMs, versions } = record;
  const { current, latest } = versions;
  await db
    .insertInto('pool_vm')
    .values({
      ...rowOf(current),
      name,
      owner,
      created_at_ms: createdAtMs,
      latest_version: latest,
      suspended_by: null,
    })
    .execute();
}

/** To be called in a transaction. */
export async function saveVm(
  db: Kysely<VmTables>,
  { name, versions, suspendedBy }: Pick<VmRecord, 'name' | 'versions' | 'suspendedBy'>,
): Promise<void> {
  const { current, next, previous, latest } = versions;
  await db
    .updateTable('pool_vm')
    .set({ ...rowOf(current), latest_version: latest, suspended_by: suspendedBy ?? null })
    .where('name', '=', name)
    .execute();
  const running = numbersOf(versions);
  await db.deleteFrom('pool_machine').where('name', '=', name).where('version', 'not in', running).execute();
  await db.deleteFrom('pool_vm_version').where('name', '=', name).execute();
  for (const [role, version] of [
    ['next', next],
    ['previous', previous],
  ] as const) {
    if (version)
      await db
        .insertInto('pool_vm_version')
        .values({ name, role, ...rowOf(version) })
        .execute();
  }
}

/** To be called in a transaction. */
export async function deleteVm(db: Kysely<VmTables>, name: string): Promise<void> {
  await db.deleteFrom('pool_vm').where('name', '=', name).execute();
  await db.deleteFrom('pool_machine').where('name', '=', name).execute();
  await db.deleteFrom('pool_vm_version').where('name', '=', name).execute();
}

/** From now on no machine but this one runs for the version. */
export async function saveMachine(db: Kysely<VmTables>, place: MachinePlace): Promise<void> {
  const { name, version, machineId } = place;
  await db
    .insertInto('pool_machine')
    .values({ name, version, machine_id: machineId })
    .onConflict((conflict) => conflict.columns(['name', 'version']).doUpdateSet({ machine_id: machineId }))
    .execute();
}

export async function loadMachines(db: Kysely<VmTables>): Promise<MachinePlace[]> {
  const rows = await db.selectFrom('pool_machine').selectAll().execute();
  return rows.map(({ name, version, machine_id }) => ({ name, version, machineId: machine_id }));
}

function versionOf(row: VersionRow): VmVersion {
  const { version, configuration, ...rest } = versionSchema.parse(row);
  return {
    version,
    configuration,
    imageRef: rest.image_ref,
    imageDigest: rest.image_digest ?? undefined,
    ownerNote: rest.owner_note,
  };
}

const rowOf = (version: VmVersion): VersionRow => ({
  version: version.version,
  image_ref: version.imageRef,
  image_digest: version.imageDigest ?? null,
  configuration: JSON.stringify(version.configuration),
  owner_note: version.ownerNote,
});
