/**
 * The VM-loading API as it goes over the wire [gateway G4].
 * @module
 */
import { z } from 'zod';
import { configurationSchema, imageDigestSchema, labelSchema } from '../pool/schema.ts';

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
});
export type Scope = z.infer<typeof scopeSchema>;

/** The body of `POST /version1/virtualmachine`. */
export const loadRequestSchema = z.object({
  virtualmachine: z.object({
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
  }),
});
export type LoadRequest = z.infer<typeof loadRequestSchema>;

/** What the API says of a VM [gateway G8]: three forms of its identifier, and how far it is. */
export const loadedVmSchema = z.object({
  name: z.string(),
  /** `ready` once requests are served by it; before that, and after a failure, the origin serves. */
  status: z.enum(['fetching', 'starting', 'ready', 'waiting', 'failed', 'stopping']),
  host: z.string(),
  url: z.string(),
  ip: z.string(),
  imageRef: z.string(),
  imageDigest: z.string().optional(),
  cpus: z.int(),
  memoryBytes: z.int(),
  diskBytes: z.int(),
  scope: scopeSchema.optional(),
  reason: z.string().optional(),
});
export type LoadedVm = z.infer<typeof loadedVmSchema>;
