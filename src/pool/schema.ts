/**
 * What the pool's API and an image's manifest look like. Universal: pages and other capabilities may import it.
 * @module
 */
import { z } from 'zod';

const sha256Hex = z.string().regex(/^[0-9a-f]{64}$/, 'expected 64 lower-case hexadecimal digits (SHA-256)');

/** `sha256:` and the SHA-256 of the manifest's bytes: what names an image and everything in it. */
export const imageDigestSchema = z
  .string()
  .regex(/^sha256:[0-9a-f]{64}$/, 'expected "sha256:" and 64 lower-case hexadecimal digits');

/** A DNS label: a VM's or an image's name. */
export const labelSchema = z
  .string()
  .regex(
    /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/,
    'expected a DNS label: 1 to 63 of a-z, 0-9 and "-", not at an end',
  );

/** One file of an image, beside its manifest. */
export const imageFileSchema = z.strictObject({
  /** A plain file name; no folder, so that no image can reach outside its own. */
  file: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, 'expected a plain file name'),
  sizeBytes: z
    .int()
    .min(1)
    .max(2 ** 36),
  sha256: sha256Hex,
});
export type ImageFile = z.infer<typeof imageFileSchema>;

/** A disk of an image. Its format is what the image says, and is never guessed from what the file holds. */
export const imageDiskSchema = imageFileSchema.extend({
  format: z.enum(['raw', 'qcow2']),
  /** How large the guest sees it. */
  virtualSizeBytes: z
    .int()
    .min(512)
    .max(2 ** 38),
});
export type ImageDisk = z.infer<typeof imageDiskSchema>;

/**
 * `image.json`. An image is a directory (on a disk or on a web server) that holds this file and those that it names.
 * Its digest is the SHA-256 of `image.json`, which holds the SHA-256 of everything else.
 */
export const imageManifestSchema = z.strictObject({
  format: z.literal('orilla.image/1'),
  name: labelSchema,
  architecture: z.enum(['x86_64', 'aarch64']),
  kernel: imageFileSchema,
  /** Layers of the initial RAM file system, unpacked in this order (Linux, `initramfs buffer format`). */
  initrd: z.array(imageFileSchema).min(1).max(16),
  /** Each stands on its own: no backing file, no data in another file, no encryption. */
  disks: z.array(imageDiskSchema).min(1).max(4).optional(),
  /** Appended to the kernel's command line. */
  commandLine: z.string().max(1024).default(''),
  http: z.strictObject({
    port: z.int().min(1).max(65_535),
    /** Answers with a status below 500 once the guest can serve. */
    readyPath: z.string().startsWith('/').max(1024).default('/'),
  }),
  minimumMemoryBytes: z.int().min(1),
  /** The guest takes applications while it runs: by this program in it, as `docs/pool.md` says. */
  applications: z.strictObject({ program: z.string().regex(/^\/[A-Za-z0-9._/-]{1,254}$/) }).optional(),
  /** Where the content came from, for people: package → version. */
  sources: z.record(z.string().max(128), z.string().max(128)).default({}),
});
export type ImageManifest = z.infer<typeof imageManifestSchema>;

/** The resources that a VM gets [gateway G6]. */
export const configurationSchema = z.strictObject({
  cpus: z.int().min(1).max(256),
  memoryBytes: z.int().min(2 ** 20),
  /** A disk of its own, which keeps what it writes as long as the VM is there; 0 for none. */
  diskBytes: z
    .int()
    .min(0)
    .max(64 * 2 ** 40)
    .default(0),
});
export type Configuration = z.infer<typeof configurationSchema>;

/** An image that this machine holds. */
export const imageSchema = z.object({
  digest: imageDigestSchema,
  name: labelSchema,
  architecture: z.string(),
  sizeBytes: z.int(),
  /** When it was stored, ms since 1970. */
  storedAtMs: z.number(),
});
export type Image = z.infer<typeof imageSchema>;

/** Where a VM is in its life; `vm-state.ts` in this folder holds the legal moves. */
export const vmPhaseSchema = z.enum([
  'fetching',
  'starting',
  'ready',
  'suspending',
  'suspended',
  'waiting',
  'failed',
  'stopping',
]);
export type VmPhase = z.infer<typeof vmPhaseSchema>;

export const suspendedBySchema = z.enum(['idleness', 'operator']);
export type SuspendedBy = z.infer<typeof suspendedBySchema>;

/** A version of a VM beside the one that serves. */
export const otherVersionSchema = z.object({
  version: z.int(),
  imageRef: z.string(),
  imageDigest: imageDigestSchema.optional(),
});

/** How much of an image is here. */
export const progressSchema = z.object({ doneBytes: z.int(), totalBytes: z.int() });
export type Progress = z.infer<typeof progressSchema>;

/** What was put into a VM while it ran [gateway G14]. */
export const applicationSchema = z.object({
  name: labelSchema,
  /** As its provider calls it. */
  version: z.string(),
  /** `sha256:` and the SHA-256 of its file. */
  digest: imageDigestSchema,
});
export type Application = z.infer<typeof applicationSchema>;

/** An application on its way into a VM. */
export const deploymentSchema = z.object({
  /** Empty when the one that runs is to be taken out. */
  applicationRef: z.string(),
  phase: z.enum(['fetching', 'installing']),
});

export const vmSchema = z.object({
  name: labelSchema,
  /** For whom it runs: an origin's name. */
  owner: z.string(),
  phase: vmPhaseSchema,
  /** Why it is where it is, when that is not plain: the last failure. */
  reason: z.string().optional(),
  /** Counts what the VM has been, from 1. */
  version: z.int(),
  imageRef: z.string(),
  imageDigest: imageDigestSchema.optional(),
  configuration: configurationSchema,
  /** What the owner keeps with its VM; the gateway: the scope. */
  ownerNote: z.string(),
  /** Where the guest's HTTP server answers, once the VM is ready: any of these will do. */
  addresses: z.array(z.object({ host: z.string(), port: z.int() })).optional(),
  /** The process that runs it, once the VM is ready. */
  pid: z.int().optional(),
  createdAtMs: z.number(),
  /** When the present phase began. */
  sinceMs: z.number(),
  /** How often it was started again after a crash. */
  restarts: z.int(),
  /**
   * How long the latest start took, by phase: image, preparation (at the first start, the accelerator's probe), boot; and how
   * its machine came to be: it booted, is a clone of one that had, or one that waited.
   */
  lastStart: z
    .object({
      fetchMs: z.number(),
      prepareMs: z.number(),
      bootMs: z.number(),
      totalMs: z.number(),
      origin: z.enum(['boot', 'clone', 'warm', 'saved']),
    })
    .optional(),
  accelerator: z.enum(['kvm', 'tcg']).optional(),
  /**
   * Why it is suspended, or was until it is ready again. `idleness`: nobody asked it anything; the next request brings it
   * back. `operator`: only the operator does.
   */
  suspendedBy: suspendedBySchema.optional(),
  /** While it fetches its image. */
  progress: progressSchema.optional(),
  /** On its way to take this one's place. */
  next: otherVersionSchema
    .extend({ phase: vmPhaseSchema, reason: z.string().optional(), progress: progressSchema.optional() })
    .optional(),
  /** What a rollback goes back to. */
  previous: otherVersionSchema.optional(),
  /** What runs in it instead of what its image serves; it is put in again at each start. */
  application: applicationSchema.optional(),
  /** What is to take that place. */
  deployment: deploymentSchema.optional(),
  /** The latest version that could not take this one's place, and why. Not kept over a restart of Orilla. */
  failedVersion: otherVersionSchema.extend({ reason: z.string() }).optional(),
});
export type Vm = z.infer<typeof vmSchema>;

/** What a VM was at a moment: its memory, its devices and its disks. */
export const snapshotSchema = z.object({
  label: labelSchema,
  /** What it ran from: it can go on as this image only. */
  imageDigest: imageDigestSchema,
  takenAtMs: z.number(),
  /** What it takes of the disk. */
  sizeBytes: z.int(),
});
export type Snapshot = z.infer<typeof snapshotSchema>;

/** What became of one VM in an upgrade. `skipped`: it was not there any more, or not to be touched. */
export const upgradeStepSchema = z.object({
  vm: labelSchema,
  status: z.enum(['waiting', 'changing', 'upgraded', 'failed', 'skipped']),
  reason: z.string().optional(),
});
export type UpgradeStep = z.infer<typeof upgradeStepSchema>;

/** All VMs of one image get another one, some at a time [desktop D17]. */
export const upgradeSchema = z.object({
  id: z.string(),
  /** What they run from before. */
  fromDigest: imageDigestSchema,
  imageRef: z.string(),
  imageDigest: imageDigestSchema.optional(),
  /** How many change at a time. */
  waveSize: z.int(),
  /** `failed`: one of a wave could not be changed, so that the VMs that still wait are left as they are. */
  status: z.enum(['running', 'succeeded', 'failed']),
  steps: z.array(upgradeStepSchema),
  createdAtMs: z.number(),
});
export type Upgrade = z.infer<typeof upgradeSchema>;

/** What was asked of the pool and takes its time. */
export const operationSchema = z.object({
  id: z.string(),
  owner: z.string(),
  kind: z.enum(['load', 'change', 'rollback', 'deploy', 'withdraw']),
  vm: labelSchema,
  /** Which version of the VM it is to bring; for `deploy` and `withdraw` the one that it began with. */
  version: z.int(),
  /** `cancelled`: another wish, or the end of the VM, came before. */
  status: z.enum(['running', 'succeeded', 'failed', 'cancelled']),
  reason: z.string().optional(),
  createdAtMs: z.number(),
  finishedAtMs: z.number().optional(),
});
export type Operation = z.infer<typeof operationSchema>;

/** A program that is to run in a guest. */
export const execRequestSchema = z.strictObject({
  argv: z.array(z.string()).min(1).max(1000),
  /** A program that has not ended by then is killed. */
  limitMs: z.int().min(1).max(600_000).default(60_000),
  /** Of each of its outputs. */
  outputLimitBytes: z
    .int()
    .min(0)
    .max(16 * 2 ** 20)
    .default(2 ** 20),
});

/** How it ended; its outputs in base64. */
export const execOutcomeSchema = z.object({
  status: z.int(),
  truncated: z.boolean(),
  stdout: z.string(),
  stderr: z.string(),
});
