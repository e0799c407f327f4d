/**
 * What the control API and its clients say to each other of origins.
 * @module
 */
import { z } from 'zod';
import { hasCode } from '../../base/index.ts';
import { hostNameSchema, httpServerSchema } from '../../platform/config/index.ts';
import { readApplicationKey } from '../../pool/index.ts';
import { labelSchema } from '../../pool/schema.ts';
import { AN_SSH_KEY, isSshKey } from '../remote-commands/ssh-key.ts';

/** How many VMs an origin may have here. */
export const maxVmsSchema = z.int().min(1).max(1000).default(8);

/** Servers beside the origin's own from which its images may be fetched. */
export const imageHostsSchema = z
  .array(z.string().regex(/^[A-Za-z0-9._:[\]-]{1,261}$/, 'expected host or host:port'))
  .max(64, 'expected 64 servers at the most')
  .default([]);

const KEYS_LIMIT = 32;

/** Lines of `authorized_keys`: whoever has one of these keys may give commands by SSH in the origin's name. */
export const sshKeysSchema = z
  .array(z.string().refine(isSshKey, AN_SSH_KEY))
  .max(KEYS_LIMIT, `expected ${KEYS_LIMIT} keys at the most`)
  .default([]);

/** Ed25519 public keys, SPKI in PEM: applications that are signed by one of them are taken. */
const applicationKeysSchema = z
  .array(
    z.string().transform((pem, context) => {
      try {
        return readApplicationKey(pem).publicKey;
      } catch (error) {
        if (!hasCode(error, 'application_key_invalid')) throw error;
        context.addIssue(error.message);
        return z.NEVER;
      }
    }),
  )
  .max(KEYS_LIMIT, `expected ${KEYS_LIMIT} keys at the most`)
  .default([]);

/** Host names of one site: the first is the one by which the origin knows itself. */
export const hostsSchema = z
  .array(hostNameSchema)
  .min(1, 'expected one host name at least')
  .max(64, 'expected 64 host names at the most');

/** The body of `POST /api/v1/origins`. */
export const newOriginSchema = z.strictObject({
  name: labelSchema,
  hosts: hostsSchema,
  upstream: httpServerSchema,
  /** Absent for an origin that is forwarded and tagged, and cannot load VMs. */
  offload: z
    .strictObject({
      maxVms: maxVmsSchema,
      /** What the memory of all its VMs may come to; not limited when absent. */
      maxMemoryBytes: z
        .int()
        .min(2 ** 20)
        .optional(),
      imageHosts: imageHostsSchema,
      sshKeys: sshKeysSchema,
      applicationKeys: applicationKeysSchema,
    })
    .optional(),
});
export type NewOrigin = z.output<typeof newOriginSchema>;

export const originSchema = z.object({
  name: z.string(),
  hosts: z.array(z.string()),
  upstream: z.string(),
  /** Where it was named; what stands in the configuration is changed there. */
  source: z.enum(['configuration', 'command']),
  offload: z
    .object({
      maxVms: z.int(),
      maxMemoryBytes: z.int().optional(),
      imageHosts: z.array(z.string()),
      /** How many. */
      sshKeys: z.int(),
      applicationKeys: z.int(),
    })
    .optional(),
  /** True while a second token is accepted beside the first. */
  isRotating: z.boolean(),
});

/** The answer to whatever may have made a token: it is shown this once. */
export const enrolmentSchema = z.object({ origin: originSchema, token: z.string().optional() });

/** `begin`: a second token beside the first. `finish`: it takes the place of the first. `now`: both at once. */
export const rotationStepSchema = z.enum(['begin', 'finish', 'now']);
export type RotationStep = z.infer<typeof rotationStepSchema>;
