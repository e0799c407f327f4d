/**
 * The VM-loading API: an origin asks for its server to be started here [gateway G4].
 *
 *     POST   /version1/virtualmachine          201 ready · 202 on its way
 *     GET    /version1/virtualmachine          the origin's VMs
 *     GET    /version1/virtualmachine/<name>
 *     DELETE /version1/virtualmachine/<name>   204
 *
 * An origin shows its token (`Authorization: Bearer`) and sees and names its own VMs only. Answers are JSON or XML, as
 * `Accept` prefers.
 * @module
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { type Clock, deadline } from '../../base/index.ts';
import { type ApiServer, createApiServer } from '../../platform/http/index.ts';
import type { Log } from '../../platform/telemetry/index.ts';
import { type Pool, poolError } from '../../pool/index.ts';
import { type Configuration, labelSchema, type Vm } from '../../pool/schema.ts';
import { bearerToken, TokenVerifier } from '../../trust/index.ts';
import { gatewayError } from '../errors.ts';
import { noteOf, scopeOf } from '../offload.ts';
import { type LoadedVm, type LoadRequest, loadedVmSchema, loadRequestSchema } from '../schema.ts';
import { VM_API_PATH } from '../tag.ts';
import { parseForgivingJson } from './forgiving-json.ts';
import { preferredForm, preferredWaitMs } from './negotiation.ts';
import { toXml, XML_TYPE } from './xml.ts';

export interface VmApiDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly pool: Pool;
}

export interface VmApiOptions {
  /** Token → origin. */
  readonly tokens: Iterable<readonly [token: string, origin: string]>;
  /** The gateway's public keys, as JSON Web Keys, for origins that verify its tags by them. */
  readonly signingKeys: readonly object[];
  /** By `configurationid`. */
  readonly configurations: Readonly<Record<string, Configuration>>;
  /** Which of them a request without one gets. */
  readonly defaultConfiguration: string;
  /** A VM's authority as users write it, the port with it unless it is 80: `photos.edge.example:8080`. */
  readonly authorityOf: (vmName: string) => string;
  /** The address at which users reach this gateway. */
  readonly publicAddress: string;
}

const sha256 = (octets: Uint8Array): Uint8Array => createHash('sha256').update(octets).digest();
/** draft-meunier-http-message-signatures-directory */
const KEY_DIRECTORY = '/.well-known/http-message-signatures-directory';
const PUBLIC_PATHS = new Set(['/openapi.json', KEY_DIRECTORY]);
const byName = z.object({ name: labelSchema });
const oneVm = z.object({ virtualmachine: loadedVmSchema });
const allVms = z.object({ virtualmachines: z.array(loadedVmSchema) });

/** Makes the API's server; the caller listens. */
export async function createVmApi(
  { clock, log, pool }: VmApiDeps,
  options: VmApiOptions,
): Promise<ApiServer> {
  const app = await createApiServer(log, { title: 'Orilla: VM-loading API', bodyLimitBytes: 16 * 1024 });
  const verifier = new TokenVerifier(sha256, options.tokens);

  const originOf = (authorization: string | undefined): string => {
    const token = bearerToken(authorization);
    if (token === undefined) {
      throw gatewayError(
        'token_missing',
        'expected the header "Authorization: Bearer" with the token of an origin',
      );
    }
    const origin = verifier.verify(token);
    if (origin === undefined)
      throw gatewayError('token_unknown', 'the token is of no origin of this gateway');
    return origin;
  };
  /** Another origin's VM gets the answer of one that is not there. */
  const ownVm = (authorization: string | undefined, name: string): Vm => {
    const origin = originOf(authorization);
    const vm = pool.list().find((candidate) => candidate.name === name && candidate.owner === origin);
    if (!vm) throw poolError('vm_not_found', `no VM of yours is named ${name}`);
    return vm;
  };
  const describe = (vm: Vm) => describeVm(vm, options);

  app.removeContentTypeParser('application/json');
  app.addContentTypeParser(
    'application/json',
    { parseAs: 'string' },
    async (_request: unknown, body: string) => parseForgivingJson(body),
  );

  app.addHook('onRequest', async ({ url, headers }, reply) => {
    if (preferredForm(headers.accept) === 'xml') {
      // The type is set with the text: Fastify takes away one that was set before an error.
      reply.serializer((answer: object) => {
        reply.type(XML_TYPE);
        return toXml(answer);
      });
    }
    // Whoever asks is known before the body is read.
    if (!PUBLIC_PATHS.has(url)) originOf(headers.authorization);
  });

  app.get(
    KEY_DIRECTORY,
    { schema: { summary: "The keys of this gateway's signatures" } },
    async (_request, reply) =>
      reply
        .type('application/http-message-signatures-directory+json')
        .send(JSON.stringify({ keys: options.signingKeys })),
  );

  // Those who wait for a VM are told how far it is; a client that is patient must not hold up the end.
  const closing = new AbortController();
  app.addHook('preClose', async () => closing.abort());

  app.post(
    VM_API_PATH,
    {
      schema: {
        summary: 'Have a VM started here, or learn where it is',
        body: loadRequestSchema,
        response: { 201: oneVm, 202: oneVm },
      },
    },
    async (request, reply) => {
      const { headers, body } = request;
      const owner = originOf(headers.authorization);
      const configuration = configurationOf(body.virtualmachine, options);
      const { name, imageRef, imageDigest, scope } = body.virtualmachine;
      const ownerNote = noteOf(scope);
      let vm = await pool.create({ name, owner, imageRef, imageDigest, configuration, ownerNote });
      const waitMs = preferredWaitMs(headers['prefer']?.toString());
      if (waitMs > 0) {
        const gone = new AbortController();
        request.raw.socket.once('close', () => gone.abort());
        const enough = AbortSignal.any([gone.signal, closing.signal, deadline(clock, waitMs)]);
        vm = await pool.settled(name, enough);
        reply.header('Preference-Applied', `wait=${waitMs / 1000}`);
      }
      if (vm.phase === 'failed') throw poolError('vm_failed', `the VM ${name} failed: ${vm.reason}`);
      return reply
        .code(vm.phase === 'ready' ? 201 : 202)
        .header('Location', `${VM_API_PATH}/${name}`)
        .send({ virtualmachine: describe(vm) });
    },
  );

  app.get(
    VM_API_PATH,
    { schema: { summary: "The origin's VMs", response: { 200: allVms } } },
    ({ headers }) => {
      const origin = originOf(headers.authorization);
      const own = pool.list().filter(({ owner }) => owner === origin);
      return { virtualmachines: own.map(describe) };
    },
  );

  app.get(
    `${VM_API_PATH}/:name`,
    { schema: { summary: 'One VM', params: byName, response: { 200: oneVm } } },
    ({ headers, params }) => ({ virtualmachine: describe(ownVm(headers.authorization, params.name)) }),
  );

  app.delete(
    `${VM_API_PATH}/:name`,
    { schema: { summary: 'Stop a VM: its origin serves again', params: byName } },
    async ({ headers, params }, reply) => {
      await pool.remove(ownVm(headers.authorization, params.name).name);
      return reply.code(204).send();
    },
  );
  return app;
}

function configurationOf(
  wanted: LoadRequest['virtualmachine'],
  options: Pick<VmApiOptions, 'configurations' | 'defaultConfiguration'>,
): Configuration {
  if (wanted.configuration) return wanted.configuration;
  const id = wanted.configurationid ?? options.defaultConfiguration;
  const configuration = Object.hasOwn(options.configurations, id) ? options.configurations[id] : undefined;
  if (configuration) return configuration;
  const known = Object.keys(options.configurations).join(', ');
  throw poolError(
    'configuration_unknown',
    `configurationid: no configuration ${id} is stored here; there are ${known}`,
  );
}

function describeVm(vm: Vm, options: VmApiOptions): LoadedVm {
  const authority = options.authorityOf(vm.name);
  return {
    name: vm.name,
    status: vm.phase,
    host: authority.replace(/:\d+$/, ''),
    url: `http://${authority}/`,
    ip: options.publicAddress,
    imageRef: vm.imageRef,
    imageDigest: vm.imageDigest,
    ...vm.configuration,
    scope: scopeOf(vm),
    reason: vm.reason,
  };
}
