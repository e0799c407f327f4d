import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import swagger from '@fastify/swagger';
import fastify, {
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
} from 'fastify';
import {
  hasZodFastifySchemaValidationErrors,
  jsonSchemaTransform,
  serializerCompiler,
  validatorCompiler,
  type ZodTypeProvider,
} from 'fastify-type-provider-zod';
import { CodedError, defineErrors } from '../../base/index.ts';
import { type Listen, listenError } from '../sockets/index.ts';
import type { Log } from '../telemetry/index.ts';

const httpError = defineErrors({ wrong_host: 421 });

/** A Fastify whose routes are described and checked by zod schemas. */
export type ApiServer = FastifyInstance<
  import('fastify').RawServerDefault,
  import('node:http').IncomingMessage,
  import('node:http').ServerResponse,
  import('fastify').FastifyBaseLogger,
  ZodTypeProvider
>;

export interface ApiServerOptions {
  /** Heads the OpenAPI document. */
  readonly title: string;
  /** Names that a request's Host may have; any when absent. Keeps a page elsewhere from reaching it by DNS rebinding. */
  readonly hosts?: readonly string[];
  /** The largest body that is read. */
  readonly bodyLimitBytes?: number;
}

/**
 * An API over HTTP: zod at the door, one form of error (`{"error": {"code", "message"}}`), OpenAPI at `/openapi.json`.
 * The caller adds routes, then listens.
 */
export async function createApiServer(log: Log, options: ApiServerOptions): Promise<ApiServer> {
  const answerError = (error: FastifyError | Error, request: FastifyRequest, reply: FastifyReply) => {
    const { status, code, message } = describeError(error);
    if (status >= 500) log.error({ err: error, method: request.method, url: request.url }, 'request failed');
    if (status === 401) reply.header('WWW-Authenticate', 'Bearer realm="orilla"');
    return reply.code(status).send(errorBody(code, message));
  };
  const app = fastify({
    // What goes wrong before there is a route, and before there is a request.
    frameworkErrors: (error, request, reply) => void answerError(error, request, reply),
    clientErrorHandler: refuseConnection,
    bodyLimit: options.bodyLimitBytes ?? 64 * 1024,
    requestTimeout: 30_000,
    keepAliveTimeout: 20_000,
    forceCloseConnections: 'idle',
    routerOptions: { ignoreDuplicateSlashes: true, maxParamLength: 256 },
  }).withTypeProvider<ZodTypeProvider>();
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  await app.register(swagger, {
    openapi: { openapi: '3.1.0', info: { title: options.title, version: '1' } },
    transform: jsonSchemaTransform,
  });
  const hosts = options.hosts && new Set(options.hosts);
  if (hosts) {
    app.addHook('onRequest', async (request) => {
      if (!hosts.has(request.hostname.toLowerCase())) {
        throw httpError(
          'wrong_host',
          `this server is not "${request.hostname}"; expected ${[...hosts].join(' or ')}`,
        );
      }
    });
  }
  app.setNotFoundHandler((request, reply) =>
    reply
      .code(404)
      .send(errorBody('not_found', `there is no ${request.method} ${request.url.slice(0, 200)} here`)),
  );
  app.setErrorHandler(answerError);
  app.get('/openapi.json', { schema: { hide: true } }, () => app.swagger());
  return app;
}

/** Listens on an address and port, or on a Unix socket. Returns the port in use (0 for a socket). */
export async function listen(app: ApiServer, where: Listen | { readonly path: string }): Promise<number> {
  try {
    await app.listen(where);
  } catch (error) {
    throw listenError(error, where);
  }
  const address = app.server.address();
  return address !== null && typeof address === 'object' ? address.port : 0;
}

function errorBody(code: string, message: string) {
  return { error: { code, message } };
}

/** What a client is told of an error: ours as they are, Fastify's and zod's as a sentence, others not at all. */
function describeError(error: FastifyError | Error): { status: number; code: string; message: string } {
  if (error instanceof CodedError) return error;
  if (hasZodFastifySchemaValidationErrors(error)) {
    const faults = error.validation.map(({ instancePath, message }) => {
      const key = instancePath.replace(/^\//, '').replaceAll('/', '.');
      return key ? `${key}: ${message}` : message;
    });
    return { status: 400, code: 'invalid_request', message: faults.join('; ') };
  }
  const { statusCode } = error as FastifyError;
  if (statusCode !== undefined && statusCode < 500) {
    return { status: statusCode, code: codeOf(statusCode), message: error.message };
  }
  return { status: 500, code: 'internal', message: STATUS_CODES[500] ?? 'Internal Server Error' };
}

/** Fastify's own codes are its own to change: 413 → `payload_too_large`. */
const codeOf = (status: number): string =>
  status === 400 || STATUS_CODES[status] === undefined
    ? 'invalid_request'
    : STATUS_CODES[status].toLowerCase().replaceAll(/[^a-z]+/g, '_');

/** Answers what is not HTTP, or comes too slowly or with too long a head, and hangs up. */
function refuseConnection(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return;
  const statuses: Record<string, number> = { ERR_HTTP_REQUEST_TIMEOUT: 408, HPE_HEADER_OVERFLOW: 431 };
  const status = statuses[error.code ?? ''] ?? 400;
  const body = JSON.stringify(errorBody(codeOf(status), STATUS_CODES[status] ?? 'Bad Request'));
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: application/json; charset=utf-8\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}
