/**
 * The VM-loading API: an origin asks for its server to be started here [gateway G4].
 *
 *     POST   /version1/virtualmachine                   201 ready · 202 on its way
 *     GET    /version1/virtualmachine                   the origin's VMs
 *     GET    /version1/virtualmachine/<name>
 *     PUT    /version1/virtualmachine/<name>            200 it is like that · 202 a new version is on its way
 *     POST   /version1/virtualmachine/<name>/rollback   200 it was · 202 on its way back
 *     DELETE /version1/virtualmachine/<name>            204
 *     GET    /version1/virtualmachine/<name>/application   what was put into it while it ran
 *     PUT    /version1/virtualmachine/<name>/application   200 it runs · 202 on its way
 *     DELETE /version1/virtualmachine/<name>/application   204 · 202 on its way out
 *     GET    /version1/operations/<id>                  how far it is with what was answered with 202
 *     GET    /version1/images                           what the origin's VMs ran from
 *     DELETE /version1/images/<digest>                  204 withdrawn
 *
 * An origin shows its token (`Authorization: Bearer`) and sees and names its own only. Requests and answers are JSON or
 * XML, as `Content-Type` and `Accept` say. What changes something may carry an `Idempotency-Key`.
 * @module
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type Clock, hasCode } from '../../base/index.ts';
import { type ApiServer, createApiServer } from '../../platform/http/index.ts';
import type { AuditLog, Log } from '../../platform/telemetry/index.ts';
import type { Pool } from '../../pool/index.ts';
import { bearerToken } from '../../trust/index.ts';
import { DEFAULT_LIMITS } from '../data-plane/limits.ts';
import { ClientTable } from '../data-plane/limits-client-table.ts';
import { gatewayError } from '../errors.ts';
import type { OriginVms } from '../origin-vms.ts';
import type { RefusedLogins } from '../refused-logins.ts';
import { addApplicationRoutes } from './application-routes.ts';
import { auditRoutes } from './audited-routes.ts';
import { parseForgivingJson } from './forgiving-json.ts';
import { withoutHostPaths } from './host-paths.ts';
import { preferredForm } from './negotiation.ts';
import { addOperationRoutes } from './operation-routes.ts';
import { patientAnswers } from './patient-answers.ts';
import { addVmRoutes, type VmRoutesOptions } from './vm-routes.ts';
import { toXml, XML_TYPE } from './xml.ts';
import { parseXmlRequest } from './xml-request.ts';

export interface VmApiDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly audit: Pick<AuditLog, 'audited'>;
  readonly refused: RefusedLogins;
  readonly pool: Pool;
  readonly vms: OriginVms;
}

export interface VmApiOptions extends VmRoutesOptions {
  /** Whose token it is; asked at each request, because origins and their tokens come and go. */
  readonly originOf: (token: string) => string | undefined;
  /** The gateway's public keys, as JSON Web Keys, for origins that verify its tags by them. */
  readonly signingKeys: readonly object[];
}

/** draft-meunier-http-message-signatures-directory */
const KEY_DIRECTORY = '/.well-known/http-message-signatures-directory';
const PUBLIC_PATHS = new Set(['/openapi.json', KEY_DIRECTORY]);
/** Of one client; twice as many at once. A token has 256 random bits: this spares the log and us, not the token. */
const WRONG_TOKENS_PER_SECOND = 5;

/** Makes the API's server; the caller listens. */
export async function createVmApi(
  { clock, log, audit, refused, pool, vms }: VmApiDeps,
  options: VmApiOptions,
): Promise<ApiServer> {
  const app = await createApiServer(log, { title: 'Orilla: VM-loading API', bodyLimitBytes: 16 * 1024 });
  const originOf = ({ headers }: FastifyRequest): string => {
    const token = bearerToken(headers.authorization);
    if (token === undefined) {
      throw gatewayError(
        'token_missing',
        'expected the header "Authorization: Bearer" with the token of an origin',
      );
    }
    const origin = options.originOf(token);
    if (origin === undefined) {
      throw gatewayError('token_unknown', 'the token is of no origin of this gateway');
    }
    return origin;
  };

  const refusals = new ClientTable();
  refusals.limits = { ...DEFAULT_LIMITS, requestsPerSecondPerClient: WRONG_TOKENS_PER_SECOND };
  /** Of right tokens from the same address none is refused: a proxy may stand before all origins. */
  const countRefusal = (client: string, reply: FastifyReply) => {
    if (refusals.request(client, clock.monotonicMs())) {
      log.warn({ client }, 'token refused at the VM API');
      return;
    }
    reply.header('Retry-After', 1);
    throw gatewayError('too_many_refusals', 'too many wrong tokens came from your address');
  };

  app.removeAllContentTypeParsers();
  for (const [type, parse] of [
    ['application/json', parseForgivingJson],
    ['application/xml', parseXmlRequest],
    ['text/xml', parseXmlRequest],
  ] as const) {
    app.addContentTypeParser(type, { parseAs: 'string' }, async (_request: unknown, body: string) =>
      parse(body),
    );
  }

  app.addHook('onRequest', async (request, reply) => {
    if (preferredForm(request.headers.accept) === 'xml') {
      // The type is set with the text: Fastify takes away one that was set before an error.
      reply.serializer((answer: object) => {
        reply.type(XML_TYPE);
        return toXml(answer);
      });
    }
    if (PUBLIC_PATHS.has(request.url)) return;
    // Whoever asks is known before the body is read.
    try {
      originOf(request);
    } catch (error) {
      if (hasCode(error, 'token_unknown')) countRefusal(request.ip, reply);
      if (hasCode(error)) refused.record({ way: 'api', address: request.ip, reason: error.code });
      throw error;
    }
  });
  app.addHook('preSerialization', async (_request, _reply, answer) => withoutHostPaths(answer));

  app.get(
    KEY_DIRECTORY,
    { schema: { summary: "The keys of this gateway's signatures" } },
    async (_request, reply) =>
      reply
        .type('application/http-message-signatures-directory+json')
        .send(JSON.stringify({ keys: options.signingKeys })),
  );
  auditRoutes(app, audit, originOf);
  const awaited = patientAnswers(app, clock, vms);
  addVmRoutes(app, { pool, vms, awaited, originOf }, options);
  addApplicationRoutes(app, { vms, awaited, originOf });
  addOperationRoutes(app, pool, originOf);
  return app;
}
