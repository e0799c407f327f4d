import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { ApiServer } from '../../platform/http/index.ts';
import { type Pool, poolError } from '../../pool/index.ts';
import { type Configuration, labelSchema, type Operation } from '../../pool/schema.ts';
import { gatewayError } from '../errors.ts';
import { noteOf } from '../offload.ts';
import type { OriginVms } from '../origin-vms.ts';
import { changeRequestSchema, loadedVmSchema, loadRequestSchema, type WantedVm } from '../schema.ts';
import { VM_API_PATH } from '../tag.ts';
import { type Addresses, describeVm, operationPath } from './descriptions.ts';
import { onceOf } from './idempotency-key.ts';
import type { Awaited } from './patient-answers.ts';

export interface VmRoutesDeps {
  readonly pool: Pool;
  readonly vms: OriginVms;
  readonly awaited: Awaited;
  /** Whose request it is. */
  readonly originOf: (request: FastifyRequest) => string;
}

export interface VmRoutesOptions extends Addresses {
  /** By `configurationid`. */
  readonly configurations: Readonly<Record<string, Configuration>>;
  /** Which of them a request without one gets. */
  readonly defaultConfiguration: string;
}

const byName = z.object({ name: labelSchema });
const oneVm = z.object({ virtualmachine: loadedVmSchema });
const allVms = z.object({ virtualmachines: z.array(loadedVmSchema) });

export function addVmRoutes(app: ApiServer, deps: VmRoutesDeps, options: VmRoutesOptions): void {
  const { pool, vms, awaited, originOf } = deps;
  const requestOf = (request: FastifyRequest, wanted: WantedVm) => {
    const { name, imageRef, imageDigest, scope } = wanted;
    const configuration = configurationOf(wanted, options);
    const owner = originOf(request);
    return { name, owner, imageRef, imageDigest, configuration, ownerNote: noteOf(scope) };
  };

  /** What came of a request, after as much of a wait as the client prefers. */
  const answer = async (request: FastifyRequest, reply: FastifyReply, asked: Operation, done: number) => {
    const operation = await awaited(request, reply, asked);
    const vm = vms.get(originOf(request), operation.vm);
    const isRunning = operation.status === 'running';
    return reply
      .code(isRunning ? 202 : done)
      .header('Location', isRunning ? operationPath(operation) : `${VM_API_PATH}/${vm.name}`)
      .send({ virtualmachine: describeVm(vm, options, operation) });
  };

  app.post(
    VM_API_PATH,
    {
      config: { changes: 'load' },
      schema: {
        summary: 'Have a VM started here, or learn where it is',
        body: loadRequestSchema,
        response: { 201: oneVm, 202: oneVm },
      },
    },
    async (request, reply) => {
      const { headers, body } = request;
      const once = onceOf(headers['idempotency-key'], ['POST', body]);
      return answer(request, reply, await pool.create(requestOf(request, body.virtualmachine), once), 201);
    },
  );

  app.get(VM_API_PATH, { schema: { summary: "The origin's VMs", response: { 200: allVms } } }, (request) => {
    const origin = originOf(request);
    return { virtualmachines: vms.list(origin).map((vm) => describeVm(vm, options)) };
  });

  app.get(
    `${VM_API_PATH}/:name`,
    { schema: { summary: 'One VM', params: byName, response: { 200: oneVm } } },
    (request) => ({ virtualmachine: describeVm(vms.get(originOf(request), request.params.name), options) }),
  );

  app.put(
    `${VM_API_PATH}/:name`,
    {
      config: { changes: 'change' },
      schema: {
        summary:
          'Have a VM be like this: a new version starts beside the old one and takes its place when it is ready',
        params: byName,
        body: changeRequestSchema,
        response: { 200: oneVm, 202: oneVm },
      },
    },
    async (request, reply) => {
      const { headers, body, params } = request;
      const { name = params.name } = body.virtualmachine;
      if (name !== params.name) {
        throw gatewayError('name_mismatch', `the body names the VM ${name}, the path ${params.name}`);
      }
      const once = onceOf(headers['idempotency-key'], ['PUT', name, body]);
      const wanted = requestOf(request, { ...body.virtualmachine, name });
      return answer(request, reply, await pool.change(wanted, once), 200);
    },
  );

  app.post(
    `${VM_API_PATH}/:name/rollback`,
    {
      config: { changes: 'rollback' },
      schema: {
        summary: 'Go back to the version before, or call off the change that is under way',
        params: byName,
        response: { 200: oneVm, 202: oneVm },
      },
    },
    async (request, reply) => {
      const { name } = vms.get(originOf(request), request.params.name);
      const once = onceOf(request.headers['idempotency-key'], ['rollback', name]);
      return answer(request, reply, await pool.rollBack(name, originOf(request), once), 200);
    },
  );

  app.delete(
    `${VM_API_PATH}/:name`,
    {
      config: { changes: 'stop' },
      schema: { summary: 'Stop a VM: its origin serves again', params: byName },
    },
    async (request, reply) => {
      await pool.remove(vms.get(originOf(request), request.params.name).name);
      return reply.code(204).send();
    },
  );
}

function configurationOf(
  wanted: WantedVm,
  { configurations, defaultConfiguration }: VmRoutesOptions,
): Configuration {
  if (wanted.configuration) return wanted.configuration;
  const id = wanted.configurationid ?? defaultConfiguration;
  const configuration = Object.hasOwn(configurations, id) ? configurations[id] : undefined;
  if (configuration) return configuration;
  const known = Object.keys(configurations).join(', ');
  throw poolError(
    'configuration_unknown',
    `configurationid: no configuration ${id} is stored here; there are ${known}`,
  );
}
