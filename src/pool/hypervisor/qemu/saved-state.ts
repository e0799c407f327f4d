/**
 * A machine that was saved, as a folder:
 *
 *     state.json    what it was: of which image and configuration, what QEMU it needs, how its disks looked
 *     state         its memory and devices, as QEMU's migration stream, sealed (`platform/secrets`)
 *     disks/        in a snapshot: copies of its disks
 *
 * The folder appears by a rename, after its last octet was written through to the disk.
 * @module
 */
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import { messageOf, type Random } from '../../../base/index.ts';
import { type MasterKey, seal, unseal } from '../../../platform/secrets/index.ts';
import type { MachineDisk } from '../../disks/machine-disk.ts';
import { poolError } from '../../errors.ts';
import { configurationSchema, imageDigestSchema } from '../../schema.ts';
import type { MachineRecord } from './machine-record.ts';

const FILES = { record: 'state.json', state: 'state', disks: 'disks' } as const;

/** As a disk looked when the machine was at rest: who writes to it afterwards changes it. */
const diskLookSchema = z.strictObject({ sizeBytes: z.string(), changedNs: z.string() });

const recordSchema = z.strictObject({
  format: z.literal(1),
  imageDigest: imageDigestSchema,
  configuration: configurationSchema,
  key: z.string(),
  disks: z.array(diskLookSchema),
});

export interface Sealing {
  /** Under it lies what is saved of machines. */
  readonly masterKey: MasterKey;
  readonly random: Random;
}

/** Where a folder is made before it appears. */
export const draftOf = (folder: string): string => join(dirname(folder), `.${basename(folder)}`);

export const disksIn = (folder: string): string => join(folder, FILES.disks);

/** Begins a folder. Whoever began it ends with `publish`, or removes the draft. */
export async function beginDraft(folder: string): Promise<string> {
  const draft = draftOf(folder);
  await rm(draft, { recursive: true, force: true });
  await mkdir(draft, { recursive: true, mode: 0o700 });
  return draft;
}

export async function writeState(
  { masterKey, random }: Sealing,
  draft: string,
  { key }: MachineRecord,
  state: AsyncIterable<Buffer>,
  signal: AbortSignal,
): Promise<void> {
  const file = createWriteStream(join(draft, FILES.state), { mode: 0o600 });
  await pipeline(state, (plain) => seal(plain, masterKey, purposeOf(key), random), file, { signal });
}

/** To be called while the machine is at rest. */
export async function writeRecord(
  draft: string,
  { imageDigest, configuration, key, disks }: MachineRecord,
): Promise<void> {
  const looks = await Promise.all(disks.map(lookOf));
  const record: z.infer<typeof recordSchema> = { format: 1, imageDigest, configuration, key, disks: looks };
  await writeFile(join(draft, FILES.record), JSON.stringify(record), { mode: 0o600, flush: true });
}

/** Puts the draft in the place of what was there. */
export async function publish(draft: string, folder: string): Promise<void> {
  for (const path of [join(draft, FILES.state), draft]) await sync(path);
  await rm(folder, { recursive: true, force: true });
  await rename(draft, folder);
  await sync(dirname(folder));
}

/**
 * The state that was saved, for a machine like this one.
 *
 * @param key of the machine that is to go on from it.
 * @throws `saved_state_unusable`; what is read of it throws `sealed_data_damaged`.
 */
export async function openState(
  { masterKey }: Sealing,
  folder: string,
  key: string,
  disks: readonly MachineDisk[],
): Promise<AsyncIterable<Buffer>> {
  const record = await readRecord(folder);
  if (record.key !== key) {
    throw unusable(folder, 'it was saved with another QEMU, processor, image or configuration');
  }
  const looks = await Promise.all(disks.map(lookOf));
  if (JSON.stringify(looks) !== JSON.stringify(record.disks)) {
    throw unusable(folder, 'its disks were changed after it was saved');
  }
  return unseal(createReadStream(join(folder, FILES.state)), masterKey, purposeOf(key));
}

async function readRecord(folder: string): Promise<z.infer<typeof recordSchema>> {
  try {
    return recordSchema.parse(JSON.parse(await readFile(join(folder, FILES.record), 'utf8')));
  } catch (error) {
    throw unusable(folder, messageOf(error), error);
  }
}

async function lookOf({ path }: MachineDisk): Promise<z.infer<typeof diskLookSchema>> {
  const { size, mtimeNs } = await stat(path, { bigint: true });
  return { sizeBytes: String(size), changedNs: String(mtimeNs) };
}

async function sync(path: string): Promise<void> {
  await using handle = await open(path);
  await handle.sync();
}

const purposeOf = (key: string): string => `state of a machine ${key}`;

export const unusable = (folder: string, reason: string, cause?: unknown) =>
  poolError('saved_state_unusable', `the machine cannot go on from ${folder}: ${reason}`, cause);
