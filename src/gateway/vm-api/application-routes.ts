import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { ApiServer } from '../../platform/http/index.ts';
import { poolError } from '../../pool/index.ts';
import { labelSchema, type Operation } from '../../pool/schema.ts';
import type { OriginVms } from '../origin-vms.ts';
import { applicationRequestSchema, shownApplicationSchema } from '../schema.ts';
import { VM_API_PATH } from '../tag.ts';
import { describeApplication, operationPath } from './descriptions.ts';
import { onceOf } from './idempotency-key.ts';
import type { Awaited } from './patient-answers.ts';

const PATH = `${VM_API_PATH}/:name/application`;
const byName = z.object({ name: labelSchema });
const oneApplication = z.object({ application: shownApplicationSchema });
const underWay = z.object({ application: shownApplicationSchema.partial() });

export interface ApplicationRoutesDeps {
  readonly vms: OriginVms;
  readonly awaited: Awaited;
  /** Whose request it is. */
  readonly originOf: (request: FastifyRequest) => string;
}

/** What runs in a VM, and what is to: the commands of the document's second way, as HTTP requests [gateway G13]. */
export function addApplicationRoutes(app: ApiServer, deps: ApplicationRoutesDeps): void {
  const { vms, awaited, originOf } = deps;
  /** What is under way, as far as there is something to tell of it yet. */
  const accept = (reply: FastifyReply, origin: string, operation: Operation) => {
    const vm = vms.get(origin, operation.vm);
    const application = describeApplication(vm, operation) ?? {
      virtualmachine: vm.name,
      operation: operationPath(operation),
    };
    return reply.code(202).header('Location', operationPath(operation)).send({ application });
  };
  const show = (origin: string, name: string) => {
    const application = describeApplication(vms.get(origin, name));
    if (!application) throw poolError('application_not_found', `no application is in the VM ${name}`);
    return { application };
  };

  app.get(
    PATH,
    {
      schema: {
        summary: 'The application that is in a VM beside what its image serves',
        params: byName,
        response: { 200: oneApplication },
      },
    },
    (request) => show(originOf(request), request.params.name),
  );

  app.put(
    PATH,
    {
      config: { changes: 'deploy' },
      schema: {
        summary: 'Put an application into a VM that runs, in the place of what serves there',
        params: byName,
        body: applicationRequestSchema,
        response: { 200: oneApplication, 202: underWay },
      },
    },
    async (request, reply) => {
      const { headers, body, params } = request;
      const origin = originOf(request);
      const once = onceOf(headers['idempotency-key'], ['PUT application', params.name, body]);
      const asked = await vms.deploy(origin, params.name, body.application, once);
      const operation = await awaited(request, reply, asked);
      return operation.status === 'running' ? accept(reply, origin, operation) : show(origin, params.name);
    },
  );

  app.delete(
    PATH,
    {
      config: { changes: 'withdraw' },
      schema: {
        summary: 'Take the application out of a VM: what its image serves is back',
        params: byName,
      },
    },
    async (request, reply) => {
      const { headers, params } = request;
      const origin = originOf(request);
      const once = onceOf(headers['idempotency-key'], ['DELETE application', params.name]);
      const asked = await vms.withdraw(origin, params.name, once);
      const operation = await awaited(request, reply, asked);
      return operation.status === 'running' ? accept(reply, origin, operation) : reply.code(204).send();
    },
  );
}
