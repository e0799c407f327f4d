import { z } from 'zod';
import type { ApiServer } from '../platform/http/index.ts';
import type { ImageStore } from './images/image-store.ts';
import type { Pool } from './pool.ts';
import { imageSchema, labelSchema, vmSchema } from './schema.ts';

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
export function addPoolOperatorRoutes(app: ApiServer, pool: Pool): void {
  app.delete(
    '/api/v1/vms/:name',
    { schema: { summary: 'Stop a VM and forget it', params: byName } },
    async ({ params }, reply) => {
      await pool.remove(params.name);
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
}
