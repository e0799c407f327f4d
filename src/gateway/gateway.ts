import { createHash } from 'node:crypto';
import type { Clock, Closable, Random } from '../base/index.ts';
import { CloseStack } from '../base/index.ts';
import { type ApiServer, listen } from '../platform/http/index.ts';
import type { Listen } from '../platform/sockets/index.ts';
import type { Log, Registry } from '../platform/telemetry/index.ts';
import type { Pool } from '../pool/index.ts';
import type { Configuration } from '../pool/schema.ts';
import type { SigningKey } from '../trust/index.ts';
import type { DataPlane } from './data-plane/data-plane.ts';
import { NodeHttpDataPlane } from './data-plane/node-http-data-plane.ts';
import { gatewayMetrics } from './metrics.ts';
import { routeSnapshot, type Site, vmHost } from './offload.ts';
import { readOrMakeGatewayKey, readOrMakeToken } from './secret-file.ts';
import { makeTag, type TagForm } from './tag.ts';
import { gatewayKey, sharedTagKey } from './tag-key.ts';
import { createVmApi } from './vm-api/vm-api.ts';

export interface GatewayDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly registry: Registry;
  readonly pool: Pool;
}

export interface GatewayOptions {
  readonly listen: Listen;
  /** The domain under which VMs have their names. */
  readonly edgeDomain: string;
  /** The address at which users reach this gateway, for answers of the VM API. */
  readonly publicAddress: string;
  readonly showServedBy: boolean;
  readonly tagForm: TagForm;
  /** Adds the document's MD5 digest of the tag [gateway G2]. */
  readonly addsTagDigest: boolean;
  /** The gateway's own signing key; made at the first start. */
  readonly keyFile: string;
  readonly api: {
    readonly listen: Listen;
    /** The API's name or address as origins reach it; its port is added when it is not 80. */
    readonly publicHost: string;
  };
  readonly sites: readonly (Site & {
    /** The file with the origin's token; without one it cannot load VMs. */
    readonly tokenFile?: string | undefined;
  })[];
  readonly configurations: Readonly<Record<string, Configuration>>;
  readonly defaultConfiguration: string;
}

/** The gateway: the data plane that tags and forwards, and the VM API [gateway G16]. */
export class Gateway implements Closable {
  readonly #dataPlane: DataPlane;
  readonly #parts: CloseStack;
  readonly apiPort: number;

  private constructor(dataPlane: DataPlane, apiPort: number, parts: CloseStack) {
    this.#dataPlane = dataPlane;
    this.apiPort = apiPort;
    this.#parts = parts;
  }

  static async start(deps: GatewayDeps, options: GatewayOptions): Promise<Gateway> {
    const { clock, random, log, pool } = deps;
    const parts = new CloseStack(clock);
    try {
      const observe = gatewayMetrics(deps.registry);
      const ownKey = gatewayKey(await readOrMakeGatewayKey(options.keyFile));
      const { sites, tokens } = await enrol(deps, options, ownKey);
      const dataPlane = parts.add(
        'data plane',
        await NodeHttpDataPlane.start({ clock, random, log, observe }, options.listen),
      );
      const withPort = (host: string, port: number) => (port === 80 ? host : `${host}:${port}`);
      const api: ApiServer = await createVmApi(
        { clock, log, pool },
        {
          tokens,
          signingKeys: [{ ...ownKey.publicJwk, kid: ownKey.keyId, use: 'sig' }],
          configurations: options.configurations,
          defaultConfiguration: options.defaultConfiguration,
          authorityOf: (vmName) => withPort(vmHost(vmName, options.edgeDomain), dataPlane.port),
          publicAddress: options.publicAddress,
        },
      );
      parts.add('VM API', api);
      const apiPort = await listen(api, options.api.listen);
      const address = withPort(options.api.publicHost, apiPort);
      const tag = makeTag(options.tagForm, address, options.addsTagDigest ? md5 : undefined);
      const { edgeDomain, showServedBy } = options;
      const apply = () =>
        dataPlane.apply(routeSnapshot(sites, pool.list(), { edgeDomain, tag, showServedBy }));
      const subscription = pool.subscribe(apply);
      parts.defer('routes', () => subscription[Symbol.dispose]());
      apply();
      return new Gateway(dataPlane, apiPort, parts);
    } catch (error) {
      return parts.failWith(error);
    }
  }

  get port(): number {
    return this.#dataPlane.port;
  }

  close(): Promise<void> {
    return this.#parts.close();
  }
}

/** Each site with the key by which its tags are signed, and the tokens that the VM API knows. */
async function enrol(
  { random, log }: GatewayDeps,
  { sites }: GatewayOptions,
  ownKey: SigningKey,
): Promise<{ sites: Site[]; tokens: (readonly [token: string, origin: string])[] }> {
  const tokens: (readonly [string, string])[] = [];
  const keyed: Site[] = [];
  for (const { tokenFile, ...site } of sites) {
    if (tokenFile === undefined) {
      keyed.push({ ...site, signingKey: ownKey });
      continue;
    }
    const { token, isNew } = await readOrMakeToken(random, tokenFile);
    if (isNew) log.info({ origin: site.origin, file: tokenFile }, 'made a token for an origin');
    tokens.push([token, site.origin]);
    keyed.push({ ...site, signingKey: sharedTagKey(token) });
  }
  return { sites: keyed, tokens };
}

const md5 = (text: string): string => createHash('md5').update(text).digest('hex');
