import { z } from 'zod';
import { httpServerUrl } from '../platform/config/index.ts';
import type { ApiServer } from '../platform/http/index.ts';
import { labelSchema } from '../pool/schema.ts';
import type { Origin } from './origins/origin.ts';
import type { OriginDirectory } from './origins/origin-directory.ts';
import { enrolmentSchema, newOriginSchema, originSchema, rotationStepSchema } from './origins/schema.ts';

export { offloadPhase, sleeps } from './offload.ts';
export { hostFaults } from './origins/host-rules.ts';
export type { ConfiguredOrigin, Origin } from './origins/origin.ts';
export { OriginDirectory } from './origins/origin-directory.ts';
export { type OriginTables, originMigrations } from './origins/origin-table.ts';
export {
  enrolmentSchema,
  hostsSchema,
  imageHostsSchema,
  maxVmsSchema,
  newOriginSchema,
  originSchema,
  type RotationStep,
  sshKeysSchema,
} from './origins/schema.ts';

const byName = z.object({ name: labelSchema });

/** What only the operator may do: say who is an origin here. */
export function addOriginRoutes(app: ApiServer, origins: OriginDirectory): void {
  app.get(
    '/api/v1/origins',
    { schema: { summary: 'All origins', response: { 200: z.array(originSchema) } } },
    () => origins.list().map(describeOrigin),
  );
  app.post(
    '/api/v1/origins',
    {
      schema: {
        summary: 'Add an origin; its token is in this answer and in no other',
        body: newOriginSchema,
        response: { 201: enrolmentSchema },
      },
    },
    async ({ body }, reply) => {
      const { origin, token } = await origins.add(body);
      return reply.code(201).send({ origin: describeOrigin(origin), token });
    },
  );
  app.delete(
    '/api/v1/origins/:name',
    { schema: { summary: 'Forget an origin that was added, and stop its VMs', params: byName } },
    async ({ params }, reply) => {
      await origins.remove(params.name);
      return reply.code(204).send();
    },
  );
  app.post(
    '/api/v1/origins/:name/rotation',
    {
      schema: {
        summary: "Change an origin's token",
        params: byName,
        body: z.strictObject({ step: rotationStepSchema }),
        response: { 200: enrolmentSchema },
      },
    },
    async ({ params, body }) => {
      const { origin, token } = await origins.rotate(params.name, body.step);
      return { origin: describeOrigin(origin), token };
    },
  );
}

function describeOrigin({ name, hosts, upstream, source, offload, isRotating }: Origin) {
  const shown = offload && {
    ...offload,
    sshKeys: offload.sshKeys.length,
    applicationKeys: offload.applicationKeys.length,
  };
  return { name, hosts, upstream: httpServerUrl(upstream), source, offload: shown, isRotating };
}
