/**
 * What the control API tells of the whole edge. Universal: the status page is drawn from it.
 * @module
 */
import { z } from 'zod';
import { vmSchema } from '../pool/schema.ts';

export const statusSchema = z.object({
  version: z.string(),
  startedAtMs: z.number(),
  ready: z.boolean(),
  gatewayPort: z.int(),
  apiPort: z.int(),
  edgeDomain: z.string(),
  origins: z.array(
    z.object({
      name: z.string(),
      hosts: z.array(z.string()),
      upstream: z.string(),
      mayOffload: z.boolean(),
      /** How far its offload is: the phase of its VM that is furthest, `origin` while it has none. */
      offload: z.enum(['origin', ...vmSchema.shape.phase.options]),
      /** Who serves it now: `origin`, or the VMs by name. */
      servedBy: z.array(z.string()),
      requests: z.object({ origin: z.number(), vm: z.number(), gateway: z.number() }),
      bytes: z.object({ origin: z.number(), vm: z.number() }),
      /** Mean time to the first byte, by who answered; absent while nobody did. */
      firstByteMs: z.object({ origin: z.number().optional(), vm: z.number().optional() }),
      replays: z.number(),
    }),
  ),
  vms: z.array(vmSchema),
});
export type Status = z.infer<typeof statusSchema>;
