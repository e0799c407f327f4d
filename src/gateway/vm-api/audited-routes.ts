import type { FastifyRequest } from 'fastify';
import type { ApiServer } from '../../platform/http/index.ts';
import type { AuditLog } from '../../platform/telemetry/index.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** A word for what the route changes, in the audit log. */
    changes?: string;
  }
}

const READING = new Set(['GET', 'HEAD', 'OPTIONS']);

/**
 * Has every route that is added from now on, and changes something, written into the audit log: who asked, from where, for
 * what, and how it ended.
 */
export function auditRoutes(
  app: ApiServer,
  audit: Pick<AuditLog, 'audited'>,
  originOf: (request: FastifyRequest) => string,
): void {
  app.addHook('onRoute', (route) => {
    if ([route.method].flat().every((method) => READING.has(method))) return;
    const what = route.config?.changes;
    if (what === undefined)
      throw new Error(`${String(route.method)} ${route.url} does not say what it changes`);
    const { handler } = route;
    route.handler = function audited(request, reply) {
      const details = { from: request.ip, way: 'api' };
      const entry = { who: `origin:${originOf(request)}`, what, object: objectOf(request), details };
      return audit.audited(entry, async () => handler.call(this, request, reply));
    };
  });
}

/** What a request is about: a VM by its name, an image by its digest. */
function objectOf({ params, body }: FastifyRequest): string {
  const { name, digest } = (params ?? {}) as { name?: string; digest?: string };
  const { virtualmachine } = (body ?? {}) as { virtualmachine?: { name?: string } };
  return name ?? digest ?? virtualmachine?.name ?? '';
}
