import { z } from 'zod';
import type { ApiServer } from '../platform/http/index.ts';
import type { AuditLog } from '../platform/telemetry/index.ts';
import type { ImageStore } from './images/image-store.ts';
import type { Pool } from './pool.ts';
import {
  configurationSchema,
  execOutcomeSchema,
  execRequestSchema,
  imageDigestSchema,
  imageSchema,
  labelSchema,
  operationSchema,
  snapshotSchema,
  upgradeSchema,
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

const newVmSchema = z.strictObject({
  name: labelSchema,
  /** For whom it runs. */
  owner: labelSchema,
  imageRef: z.string().min(1).max(2048),
  imageDigest: imageDigestSchema.optional(),
  configuration: configurationSchema,
});

const bySnapshot = byName.extend({ label: labelSchema });
const byId = z.object({ id: z.string().max(64) });
const newUpgradeSchema = z.strictObject({
  fromDigest: imageDigestSchema,
  imageRef: z.string().min(1).max(2048),
  imageDigest: imageDigestSchema.optional(),
  waveSize: z.int().min(1).max(1000),
});

/** What only the operator may do. */
export function addPoolOperatorRoutes(app: ApiServer, pool: Pool, audit: AuditLog): void {
  const audited = <Result>(what: string, object: string, work: () => Promise<Result>, details = {}) =>
    audit.audited({ who: 'operator', what, object, details }, work);
  app.post(
    '/api/v1/vms',
    { schema: { summary: 'Run a VM', body: newVmSchema, response: { 202: vmSchema } } },
    async ({ body }, reply) => {
      await pool.create(body);
      return reply.code(202).send(pool.get(body.name));
    },
  );
  app.post(
    '/api/v1/vms/:name/suspend',
    { schema: { summary: 'End its machine for now, and keep what it was', params: byName } },
    async ({ params }, reply) => {
      await pool.suspend(params.name, 'operator');
      return reply.code(204).send();
    },
  );
  app.get(
    '/api/v1/vms/:name/snapshots',
    {
      schema: {
        summary: 'The snapshots of a VM',
        params: byName,
        response: { 200: z.array(snapshotSchema) },
      },
    },
    ({ params }) => pool.snapshots.list(params.name),
  );
  app.post(
    '/api/v1/vms/:name/snapshots',
    {
      schema: {
        summary: 'Keep what a VM is now',
        params: byName,
        body: z.strictObject({ label: labelSchema }),
        response: { 201: snapshotSchema },
      },
    },
    async ({ params, body }, reply) =>
      reply.code(201).send(await pool.snapshots.take(params.name, body.label)),
  );
  app.delete(
    '/api/v1/vms/:name/snapshots/:label',
    { schema: { summary: 'Forget a snapshot', params: bySnapshot } },
    async ({ params }, reply) => {
      await pool.snapshots.remove(params.name, params.label);
      return reply.code(204).send();
    },
  );
  app.post(
    '/api/v1/vms/:name/snapshots/:label/revert',
    { schema: { summary: 'Go on from a snapshot', params: bySnapshot, response: { 202: vmSchema } } },
    async ({ params }, reply) => {
      await pool.snapshots.revert(params.name, params.label);
      return reply.code(202).send(pool.get(params.name));
    },
  );
  app.post(
    '/api/v1/vms/:name/resume',
    { schema: { summary: 'Bring a suspended VM back', params: byName, response: { 202: vmSchema } } },
    async ({ params }, reply) => {
      await pool.resume(params.name);
      return reply.code(202).send(pool.get(params.name));
    },
  );
  app.post(
    '/api/v1/upgrades',
    {
      schema: {
        summary: 'Bring all VMs of an image to another one, in waves',
        body: newUpgradeSchema,
        response: { 202: upgradeSchema },
      },
    },
    async ({ body }, reply) => reply.code(202).send(await pool.upgrades.begin(body)),
  );
  app.get(
    '/api/v1/upgrades/:id',
    { schema: { summary: 'How far an upgrade is', params: byId, response: { 200: upgradeSchema } } },
    ({ params }) => pool.upgrades.get(params.id),
  );
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
