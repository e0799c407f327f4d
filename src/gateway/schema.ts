/**
 * The VM-loading API as it goes over the wire [gateway G4].
 * @module
 */
import { z } from 'zod';
import {
  applicationSchema,
  configurationSchema,
  deploymentSchema,
  imageDigestSchema,
  labelSchema,
  otherVersionSchema,
  progressSchema,
  vmPhaseSchema,
} from '../pool/schema.ts';

/** Which requests a VM serves; those outside go to the origin as before. */
export const scopeSchema = z.strictObject({
  /** All methods when absent. */
  methods: z
    .array(z.string().regex(/^[A-Z]{1,16}$/, 'expected a method in upper case'))
    .min(1)
    .max(16)
    .optional(),
  /** Prefixes of paths; all paths when absent. */
  paths: z
    .array(z.string().max(256).startsWith('/', 'expected a path that begins with "/"'))
    .min(1)
    .max(64)
    .optional(),
  /** Nothing is served until an application was put into it: for a VM that runs before its application is there [gateway G12]. */
  needs: z.literal('application').optional(),
});
export type Scope = z.infer<typeof scopeSchema>;

const wantedVmSchema = z.object({
  /** The first label of the VM's host name. */
  name: labelSchema,
  /** A URL, a directory of the gateway, or `sha256:` and a digest [gateway G5]. */
  imageRef: z.string().min(1).max(2048),
  /** What the image's digest must be; recorded at the first fetch when absent. */
  imageDigest: imageDigestSchema.optional(),
  /** A configuration that is stored on the gateway; its default when absent [gateway G6]. */
  configurationid: z
    .string()
    .regex(/^[A-Za-z0-9._-]{1,64}$/, 'expected 1 to 64 of A-Z, a-z, 0-9, ".", "_" and "-"')
    .optional(),
  /** A configuration of the request's own, in place of a stored one [gateway G6]. */
  configuration: configurationSchema.optional(),
  /** Which requests it serves; all when absent. Asked again with another scope, the VM goes on with that one. */
  scope: scopeSchema.optional(),
});
export type WantedVm = z.infer<typeof wantedVmSchema>;

/** The body of `POST /version1/virtualmachine`. */
export const loadRequestSchema = z.object({ virtualmachine: wantedVmSchema });
export type LoadRequest = z.infer<typeof loadRequestSchema>;

/** A URL, a file of the gateway, or `sha256:` and a digest [gateway G13]. */
export const applicationRefSchema = z.string().min(1).max(2048);

/** By a key that the gateway's operator registered for the origin: 64 octets in base64. */
export const signatureSchema = z
  .string()
  .trim()
  .regex(/^[A-Za-z0-9+/]{86}==$/, 'expected an Ed25519 signature: 88 characters of base64');

/** The body of `PUT /version1/virtualmachine/<name>/application`. */
export const applicationRequestSchema = z.object({
  application: z.object({
    applicationRef: applicationRefSchema,
    digest: imageDigestSchema,
    signature: signatureSchema,
  }),
});
export type WantedApplication = z.infer<typeof applicationRequestSchema>['application'];

/** An application on its way into a VM. */
const deploymentShownSchema = z.object({
  applicationRef: z.string(),
  status: deploymentSchema.shape.phase,
});

/** What the API says of the application in a VM. */
export const shownApplicationSchema = z.object({
  virtualmachine: z.string(),
  /** `running`, or how far a first one is. */
  status: z.enum(['running', ...deploymentSchema.shape.phase.options]),
  /** Of the one that runs. */
  ...applicationSchema.partial().shape,
  /** The one that is to take its place. */
  next: deploymentShownSchema.optional(),
  /** Where to ask how far it is, while what was asked is under way. */
  operation: z.string().optional(),
});
export type ShownApplication = z.infer<typeof shownApplicationSchema>;

/** The body of `PUT /version1/virtualmachine/<name>`: the name stands in the path. */
export const changeRequestSchema = z.object({ virtualmachine: wantedVmSchema.partial({ name: true }) });

/** What the API says of a VM [gateway G8]: three forms of its identifier, and how far it is. */
export const loadedVmSchema = z.object({
  name: z.string(),
  /** `ready` once requests are served by it; before that, and after a failure, the origin serves. */
  status: vmPhaseSchema,
  host: z.string(),
  url: z.string(),
  ip: z.string(),
  /** Counts what the VM has been, from 1. */
  version: z.int(),
  imageRef: z.string(),
  imageDigest: z.string().optional(),
  cpus: z.int(),
  memoryBytes: z.int(),
  diskBytes: z.int(),
  scope: scopeSchema.optional(),
  reason: z.string().optional(),
  /** While its image is fetched. */
  progress: progressSchema.optional(),
  /** The version that is on its way to take this one's place. */
  next: otherVersionSchema
    .extend({
      status: vmPhaseSchema,
      reason: z.string().optional(),
      progress: progressSchema.optional(),
    })
    .optional(),
  /** What a rollback goes back to. */
  previous: otherVersionSchema.optional(),
  /** What was put into it while it ran, and what is on its way into it. */
  application: applicationSchema.optional(),
  deployment: deploymentShownSchema.optional(),
  /** The latest version that could not take this one's place. */
  failedVersion: otherVersionSchema.extend({ reason: z.string() }).optional(),
  /** Where to ask how far it is, while what was asked is under way. */
  operation: z.string().optional(),
});
export type LoadedVm = z.infer<typeof loadedVmSchema>;

export const operationIdSchema = z.string().regex(/^[0-9a-z]{1,64}$/, 'expected the id of an operation');

/** What was asked of the gateway and takes its time. */
export const shownOperationSchema = z.object({
  id: z.string(),
  kind: z.enum(['load', 'change', 'rollback', 'deploy', 'withdraw']),
  status: z.enum(['running', 'succeeded', 'failed', 'cancelled']),
  /** The VM's name. */
  virtualmachine: z.string(),
  /** The version that it brings. */
  version: z.int(),
  /** Of that version, or of the application, while it runs. */
  phase: z.enum([...vmPhaseSchema.options, 'installing']).optional(),
  progress: progressSchema.optional(),
  reason: z.string().optional(),
  createdAt: z.iso.datetime(),
  finishedAt: z.iso.datetime().optional(),
});
export type ShownOperation = z.infer<typeof shownOperationSchema>;

/** An image that VMs of the origin ran from. */
export const shownImageSchema = z.object({
  digest: imageDigestSchema,
  /** `absent`: not on this gateway any more; it is fetched again when a VM needs it. */
  status: z.enum(['stored', 'absent', 'withdrawn']),
  name: z.string().optional(),
  sizeBytes: z.int().optional(),
});
export type ShownImage = z.infer<typeof shownImageSchema>;
