import type { Kysely } from 'kysely';
import { z } from 'zod';
import { applicationSchema, imageDigestSchema } from '../schema.ts';
import type { DeployAuthority } from './deploy-request.ts';

/** What is wanted of a VM's applications: kept in the store before anything is done. */
export interface ApplicationTables {
  /** What runs in a VM, and is put in again at each start. */
  pool_application: { vm: string; name: string; version: string; digest: string };
  /** What is to take its place, or, without a reference, that nothing is to; one for a VM. */
  pool_deployment: {
    vm: string;
    owner: string;
    operation_id: string;
    application_ref: string | null;
    digest: string | null;
    /** JSON. */
    authority: string;
  };
}

/** An application, or with no reference none, on its way into a VM. */
export interface Deployment {
  readonly vm: string;
  readonly owner: string;
  readonly operationId: string;
  readonly applicationRef?: string | undefined;
  readonly digest?: string | undefined;
  readonly authority: DeployAuthority;
}

const installedSchema = applicationSchema.extend({ vm: z.string() });
export type InstalledApplication = Readonly<z.infer<typeof installedSchema>>;

type Db = Kysely<ApplicationTables>;

export async function loadApplications(db: Db): Promise<InstalledApplication[]> {
  const rows = await db.selectFrom('pool_application').selectAll().execute();
  return rows.map((row) => installedSchema.parse(row));
}

/** To be called in a transaction. @param application none: the VM is as its image has it. */
export async function saveApplication(
  db: Db,
  vm: string,
  application: Omit<InstalledApplication, 'vm'> | undefined,
): Promise<void> {
  await db.deleteFrom('pool_application').where('vm', '=', vm).execute();
  if (!application) return;
  const { name, version, digest } = application;
  await db.insertInto('pool_application').values({ vm, name, version, digest }).execute();
}

export async function loadDeployments(db: Db): Promise<Deployment[]> {
  const rows = await db.selectFrom('pool_deployment').selectAll().execute();
  return rows.map((row) => rowSchema.parse(row));
}

/** To be called in a transaction. Takes the place of another that was under way. */
export async function saveDeployment(db: Db, deployment: Deployment): Promise<void> {
  const { vm, owner, operationId, applicationRef, digest, authority } = deployment;
  await deleteDeployment(db, vm);
  await db
    .insertInto('pool_deployment')
    .values({
      vm,
      owner,
      operation_id: operationId,
      application_ref: applicationRef ?? null,
      digest: digest ?? null,
      authority: JSON.stringify(authority),
    })
    .execute();
}

export async function deleteDeployment(db: Db, vm: string): Promise<void> {
  await db.deleteFrom('pool_deployment').where('vm', '=', vm).execute();
}

const authoritySchema = z.union([
  z.literal('operator'),
  z.object({
    signature: z.string(),
    keys: z.array(z.object({ id: z.string(), publicKey: z.string() })),
  }),
]);

const rowSchema = z
  .object({
    vm: z.string(),
    owner: z.string(),
    operation_id: z.string(),
    application_ref: z.string().nullable(),
    digest: imageDigestSchema.nullable(),
    authority: z
      .string()
      .transform((text) => JSON.parse(text) as unknown)
      .pipe(authoritySchema),
  })
  .transform(
    ({ operation_id, application_ref, digest, ...rest }): Deployment => ({
      ...rest,
      operationId: operation_id,
      applicationRef: application_ref ?? undefined,
      digest: digest ?? undefined,
    }),
  );
