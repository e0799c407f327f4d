import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { ApiServer } from '../../platform/http/index.ts';
import type { Pool } from '../../pool/index.ts';
import { imageDigestSchema } from '../../pool/schema.ts';
import { operationIdSchema, shownImageSchema, shownOperationSchema } from '../schema.ts';
import { describeImage, describeOperation, OPERATIONS_PATH } from './descriptions.ts';

const IMAGES_PATH = '/version1/images';
const oneOperation = z.object({ operation: shownOperationSchema });
const allImages = z.object({ images: z.array(shownImageSchema) });

/** What became of requests, and the images that they brought. */
export function addOperationRoutes(
  app: ApiServer,
  pool: Pool,
  originOf: (request: FastifyRequest) => string,
): void {
  app.get(
    `${OPERATIONS_PATH}/:id`,
    {
      schema: {
        summary: 'How far it is with what was asked, or how it ended',
        params: z.object({ id: operationIdSchema }),
        response: { 200: oneOperation },
      },
    },
    async (request, reply) => {
      const owner = originOf(request);
      const operation = await pool.operation(owner, request.params.id);
      if (operation.status === 'running') reply.header('Retry-After', 1);
      const vm = pool.list().find((one) => one.name === operation.vm && one.owner === owner);
      return { operation: describeOperation(operation, vm) };
    },
  );

  app.get(
    IMAGES_PATH,
    { schema: { summary: "The images that the origin's VMs ran from", response: { 200: allImages } } },
    (request) => pool.imagesOf(originOf(request)).then((images) => ({ images: images.map(describeImage) })),
  );

  app.delete(
    `${IMAGES_PATH}/:digest`,
    {
      config: { changes: 'withdraw image' },
      schema: {
        summary: "Withdraw an image: no VM of the origin's starts from it any more",
        params: z.object({ digest: imageDigestSchema }),
      },
    },
    async (request, reply) => {
      await pool.withdrawImage(originOf(request), request.params.digest);
      return reply.code(204).send();
    },
  );
}
