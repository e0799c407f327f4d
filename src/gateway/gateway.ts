import { createHash } from 'node:crypto';
import type { Clock, Closable, Random } from '../base/index.ts';
import { CloseStack } from '../base/index.ts';
import { type ApiServer, listen } from '../platform/http/index.ts';
import type { Listen } from '../platform/sockets/index.ts';
import type { AuditLog, Log, Registry } from '../platform/telemetry/index.ts';
import type { Pool } from '../pool/index.ts';
import type { Configuration } from '../pool/schema.ts';
import type { RouteSnapshot } from './data-plane/data-plane.ts';
import type { RawDataPlaneOptions } from './data-plane/raw-data-plane.ts';
import { IdleVms, untilQuiet } from './idle-vms.ts';
import { showTally } from './metrics.ts';
import { routeSnapshot, vmHost } from './offload.ts';
import { OriginVms } from './origin-vms.ts';
import type { OriginDirectory } from './origins/origin-directory.ts';
import { OrphanedVms } from './origins/orphaned-vms.ts';
import { RefusedLogins } from './refused-logins.ts';
import { RemoteCommands, type RemoteCommandsOptions } from './remote-commands/remote-commands.ts';
import { readOrMakeGatewayKey } from './secret-file.ts';
import { makeTag, type TagForm } from './tag.ts';
import { gatewayKey } from './tag-key.ts';
import { createVmApi } from './vm-api/vm-api.ts';
import { WorkerFleet } from './worker-fleet.ts';

export interface GatewayDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly registry: Registry;
  readonly audit: Pick<AuditLog, 'audited' | 'record'>;
  readonly pool: Pool;
  readonly origins: OriginDirectory;
}

/** What can be changed while the gateway runs. */
export interface TagOptions {
  readonly showServedBy: boolean;
  readonly tagForm: TagForm;
  /** Adds the document's MD5 digest of the tag [gateway G2]. */
  readonly addsTagDigest: boolean;
  /** What clients may ask beside the sites, and how much. */
  readonly traffic?:
    | Pick<RouteSnapshot, 'forwardProxy' | 'transparent' | 'limits' | 'certificates'>
    | undefined;
  /** By origin, the authorities that its certificate may be from (PEM); those that Node knows for all others. */
  readonly authorities?: ReadonlyMap<string, string> | undefined;
}

export interface GatewayOptions extends TagOptions {
  /** Of this program: workers of another version are replaced. */
  readonly version: string;
  /** How many processes carry the traffic. */
  readonly workers: number;
  /** Where they work. */
  readonly workerFolder: string;
  readonly listen: Listen;
  readonly entrances?: Pick<RawDataPlaneOptions, 'https' | 'foreign' | 'accessLog'> | undefined;
  /** The domain under which VMs have their names. */
  readonly edgeDomain: string;
  /** The address at which users reach this gateway, for answers of the VM API. */
  readonly publicAddress: string;
  /** The gateway's own signing key; made at the first start. */
  readonly keyFile: string;
  readonly api: {
    readonly listen: Listen;
    /** The API's name or address as origins reach it; its port is added when it is not 80. */
    readonly publicHost: string;
  };
  readonly remoteCommands: Pick<RemoteCommandsOptions, 'ssh' | 'telnet'>;
  readonly configurations: Readonly<Record<string, Configuration>>;
  readonly defaultConfiguration: string;
  /** A VM that nobody asks anything for so long is suspended; none is when absent. */
  readonly suspendAfterMs?: number | undefined;
}

/** The gateway: the data plane that tags and forwards, and the VM API [gateway G16]. */
export class Gateway implements Closable {
  readonly #dataPlane: WorkerFleet;
  readonly #parts: CloseStack;
  readonly #applyTag: (options: TagOptions) => void;
  readonly ports: {
    readonly api: number;
    readonly ssh?: number | undefined;
    readonly telnet?: number | undefined;
  };

  private constructor(
    dataPlane: WorkerFleet,
    ports: Gateway['ports'],
    parts: CloseStack,
    applyTag: (options: TagOptions) => void,
  ) {
    this.#dataPlane = dataPlane;
    this.ports = ports;
    this.#parts = parts;
    this.#applyTag = applyTag;
  }

  static async start(deps: GatewayDeps, options: GatewayOptions): Promise<Gateway> {
    const { clock, log, audit, pool, origins } = deps;
    const parts = new CloseStack(clock);
    try {
      const ownKey = gatewayKey(await readOrMakeGatewayKey(options.keyFile));
      const dataPlane = parts.add(
        'data plane',
        await WorkerFleet.start(
          { clock, log, onWake: (vm) => pool.wake(vm) },
          {
            listen: options.listen,
            more: options.entrances ?? {},
            count: options.workers,
            folder: options.workerFolder,
            version: options.version,
          },
        ),
      );
      showTally(deps.registry, dataPlane.counted);
      const withPort = (host: string, port: number) => (port === 80 ? host : `${host}:${port}`);
      const authorityOf = (vmName: string) => withPort(vmHost(vmName, options.edgeDomain), dataPlane.port);
      const refused = new RefusedLogins(clock, audit);
      const vms = new OriginVms({ pool, origins });
      const { edgeDomain, publicAddress } = options;
      const api: ApiServer = await createVmApi(
        { clock, log, audit, refused, pool, vms },
        {
          originOf: (token) => origins.originOf(token),
          signingKeys: [{ ...ownKey.publicJwk, kid: ownKey.keyId, use: 'sig' }],
          configurations: options.configurations,
          defaultConfiguration: options.defaultConfiguration,
          authorityOf,
          publicAddress,
        },
      );
      parts.add('VM API', api);
      const commands = await RemoteCommands.start(
        { clock, log, audit, refused, origins, vms, settled: () => dataPlane.settled() },
        { ...options.remoteCommands, addresses: { authorityOf, publicAddress } },
      );
      parts.add('remote commands', commands);
      // Whoever is told that a VM is ready, or gone, finds it so with the next request.
      api.addHook('onSend', async () => dataPlane.settled());
      const apiPort = await listen(api, options.api.listen);
      const address = withPort(options.api.publicHost, apiPort);
      let tagOptions: TagOptions = options;
      const orphans = new OrphanedVms({ log, pool, origins });
      const apply = () => {
        const { showServedBy, tagForm, addsTagDigest, traffic, authorities } = tagOptions;
        const digest = addsTagDigest ? md5 : undefined;
        const tag = makeTag(tagForm, address, digest);
        const assignedServer = (vmName: string) => {
          const value = authorityOf(vmName);
          return { value, digest: digest?.(value) };
        };
        const sites = origins.list().map(({ name, hosts, upstream, tagKey }) => ({
          origin: name,
          hosts,
          upstream: { ...upstream, caPem: authorities?.get(name) },
          signingKey: tagKey ?? ownKey,
        }));
        const routes = routeSnapshot(sites, pool.list(), { edgeDomain, tag, showServedBy, assignedServer });
        dataPlane.apply({ ...routes, ...traffic, gatewayKey: ownKey.material });
        orphans.stop();
      };
      parts.add('VMs without an origin', orphans);
      const quiet = pool.beforeSuspension((vm) => untilQuiet(clock, dataPlane, vm));
      parts.defer('suspensions', () => quiet[Symbol.dispose]());
      if (options.suspendAfterMs !== undefined) {
        const idle = new IdleVms({ clock, log, pool, traffic: dataPlane }, options.suspendAfterMs);
        parts.add('idle VMs', idle);
      }
      for (const subscription of [pool.subscribe(apply), origins.subscribe(apply)]) {
        parts.defer('routes', () => subscription[Symbol.dispose]());
      }
      apply();
      return new Gateway(dataPlane, { api: apiPort, ...commands.ports }, parts, (changed) => {
        tagOptions = changed;
        apply();
      });
    } catch (error) {
      return parts.failWith(error);
    }
  }

  get port(): number {
    return this.#dataPlane.port;
  }

  /** Resolves when requests are served as the pool and the origins are now. */
  settled(): Promise<void> {
    return this.#dataPlane.settled();
  }

  /** Resolves when the metrics hold all requests that are over. */
  refresh(): Promise<void> {
    return this.#dataPlane.refresh();
  }

  /** From the next request on. */
  configure(options: TagOptions): void {
    this.#applyTag(options);
  }

  close(): Promise<void> {
    return this.#parts.close();
  }
}

const md5 = (text: string): string => createHash('md5').update(text).digest('hex');
