import { z } from 'zod';
import type { ApiServer } from '../platform/http/index.ts';
import type { AuditLog } from '../platform/telemetry/index.ts';
import type { ImageStore } from './images/image-store.ts';
import type { Pool } from './pool.ts';
import {
  execOutcomeSchema,
  execRequestSchema,
  imageSchema,
  labelSchema,
  operationSchema,
  vmSchema,
} from './schema.ts';

const byName = z.object({ name: labelSchema });

/** What anyone may look at: VMs and images. */
export function addPoolReadRoutes(app: ApiServer, pool: Pool, images: ImageStore): void {
  app.get('/api/v1/vms', { schema: { summary: 'All VMs', response: { 200: z.array(vmSchema) } } }, () =>
    pool.list(),
  );
  app.get(
    '/api/v1/vms/:name',
    { schema: { summary: 'One VM', params: byName, response: { 200: vmSchema } } },
    ({ params }) => pool.get(params.name),
  );
  app.get(
    '/api/v1/images',
    { schema: { summary: 'The images that this machine holds', response: { 200: z.array(imageSchema) } } },
    () => images.list(),
  );
}

/** What only the operator may do. */
export function addPoolOperatorRoutes(app: ApiServer, pool: Pool, audit: AuditLog): void {
  const audited = <Result>(what: string, object: string, work: () => Promise<Result>, details = {}) =>
    audit.audited({ who: 'operator', what, object, details }, work);
  app.delete(
    '/api/v1/vms/:name',
    { schema: { summary: 'Stop a VM and forget it', params: byName } },
    async ({ params: { name } }, reply) => {
      await audited('stop', name, () => pool.remove(name));
      return reply.code(204).send();
    },
  );
  app.get(
    '/api/v1/vms/:name/console',
    {
      schema: {
        summary: "The end of the guest's console",
        params: byName,
        response: { 200: z.object({ text: z.string() }) },
      },
    },
    async ({ params }) => ({ text: await pool.consoleTail(params.name) }),
  );
  app.post(
    '/api/v1/vms/:name/exec',
    {
      schema: {
        summary: 'Run a program in the guest, without a shell, and wait for its end',
        params: byName,
        body: execRequestSchema,
        response: { 200: execOutcomeSchema },
      },
    },
    async ({ params: { name }, body: { argv, ...limits }, raw }) => {
      // Nobody waits for a program any more whose asker has left: it is ended.
      const gone = new AbortController();
      raw.socket.once('close', () => gone.abort(new Error('whoever asked has left')));
      const exec = () => pool.exec(name, argv, { ...limits, signal: gone.signal });
      const outcome = await audited('exec', name, exec, { argv: JSON.stringify(argv) });
      const { status, truncated, stdout, stderr } = outcome;
      return { status, truncated, stdout: base64Of(stdout), stderr: base64Of(stderr) };
    },
  );
  app.post(
    '/api/v1/vms/:name/application',
    {
      schema: {
        summary: 'Put an application into a VM that runs, in the place of what serves there',
        params: byName,
        body: z.strictObject({ applicationRef: z.string().min(1).max(2048) }),
        response: { 202: operationSchema },
      },
    },
    async ({ params: { name: vm }, body: { applicationRef } }, reply) => {
      const { owner } = pool.get(vm);
      const deploy = () => pool.deploy({ vm, owner, applicationRef, authority: 'operator' });
      return reply.code(202).send(await audited('deploy', vm, deploy, { applicationRef }));
    },
  );
  app.delete(
    '/api/v1/vms/:name/application',
    {
      schema: {
        summary: 'Take the application out: what the image serves is back',
        params: byName,
        response: { 202: operationSchema },
      },
    },
    async ({ params: { name } }, reply) => {
      const withdraw = () => pool.withdrawApplication(name, pool.get(name).owner);
      return reply.code(202).send(await audited('withdraw', name, withdraw));
    },
  );
  app.get(
    '/api/v1/vms/:name/operations/:id',
    {
      schema: {
        summary: 'What became of something that was asked',
        params: byName.extend({ id: z.string().max(64) }),
        response: { 200: operationSchema },
      },
    },
    ({ params: { name, id } }) => pool.operation(pool.get(name).owner, id),
  );
}

const base64Of = (octets: Uint8Array): string => Buffer.from(octets).toString('base64');
