import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import type { ApiServer } from '../platform/http/index.ts';
import { packagePath } from '../platform/process/index.ts';
import type { Health, Registry } from '../platform/telemetry/index.ts';
import { type Status, statusSchema } from './schema.ts';

/** Liveness, readiness and metrics: the three that a machine asks for. */
/** @param refresh brings the metrics up to date. */
export function addTelemetryRoutes(
  app: ApiServer,
  registry: Registry,
  health: Health,
  refresh: () => Promise<void>,
): void {
  const readinessSchema = z.object({
    ready: z.boolean(),
    parts: z.record(z.string(), z.object({ ready: z.boolean(), reason: z.string().optional() })),
  });
  app.get('/healthz', { schema: { summary: 'This process runs' } }, () => ({ status: 'ok' }));
  const response = { 200: readinessSchema, 503: readinessSchema };
  app.get(
    '/readyz',
    { schema: { summary: 'Every part can do its work', response } },
    async (_request, reply) => {
      const report = health.report();
      return reply.code(report.ready ? 200 : 503).send(report);
    },
  );
  app.get(
    '/metrics',
    { schema: { summary: 'Metrics in the Prometheus text format' } },
    async (_request, reply) => {
      await refresh();
      return reply.type(registry.contentType).send(await registry.metrics());
    },
  );
}

export function addStatusRoute(app: ApiServer, status: () => Promise<Status>): void {
  app.get(
    '/api/v1/status',
    { schema: { summary: 'The whole edge at one look', response: { 200: statusSchema } } },
    () => status(),
  );
}

const PAGE_FILES = {
  '/': ['index.html', 'text/html; charset=utf-8'],
  '/status.css': ['status.css', 'text/css; charset=utf-8'],
  '/status.js': ['status.js', 'text/javascript; charset=utf-8'],
} as const;

/** The status page. Nothing but its own files may run in it. */
export function addStatusPage(app: ApiServer): void {
  for (const [path, [file, type]] of Object.entries(PAGE_FILES)) {
    app.get(path, { schema: { hide: true } }, async (_request, reply) =>
      reply
        .type(type)
        .headers({
          'Content-Security-Policy':
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
          'X-Content-Type-Options': 'nosniff',
          'Referrer-Policy': 'no-referrer',
          'Cache-Control': 'no-cache',
        })
        .send(await readFile(packagePath('web', 'status', file))),
    );
  }
}
