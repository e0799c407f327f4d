import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { configurationSchema, imageDigestSchema } from '../../schema.ts';
import { LINK_COUNT } from './machine-link.ts';
import { RUN_FILES, readTail } from './run-files.ts';

const diskFormatSchema = z.enum(['raw', 'qcow2']);

/**
 * What another process of ours has to know of a machine and cannot ask its QEMU: that may be in an attacker's hands. Written
 * before QEMU is started; the directory's sticky bit keeps a confined one from replacing it.
 */
const recordSchema = z.strictObject({
  format: z.literal(2),
  accelerator: z.enum(['kvm', 'tcg']),
  /** Where the guest's HTTP server listens, in the guest. */
  port: z.int().min(1).max(65_535),
  /** Of its link to the host, when it has one. */
  linkIndex: z
    .int()
    .min(0)
    .max(LINK_COUNT - 1)
    .optional(),
  imageDigest: imageDigestSchema,
  configuration: configurationSchema,
  /** With it alone goes together what is saved of the machine: see `template-key.ts`. */
  key: z.string(),
  disks: z
    .array(
      z.strictObject({
        path: z.string(),
        format: diskFormatSchema,
        sizeBytes: z.int(),
        backing: z.strictObject({ path: z.string(), format: diskFormatSchema }).optional(),
      }),
    )
    .max(8),
});
export type MachineRecord = Omit<z.infer<typeof recordSchema>, 'format'>;

/** @param directory the machine's run directory. */
export async function writeMachineRecord(directory: string, record: MachineRecord): Promise<void> {
  const content = JSON.stringify({ format: 2, ...record });
  await writeFile(join(directory, RUN_FILES.record), content, { mode: 0o600 });
}

/** `undefined` when there is none, or one of an Orilla that kept other records. */
export async function readMachineRecord(directory: string): Promise<MachineRecord | undefined> {
  try {
    const { format: _, ...record } = recordSchema.parse(
      JSON.parse(await readTail(join(directory, RUN_FILES.record))),
    );
    return record;
  } catch {
    return undefined;
  }
}
