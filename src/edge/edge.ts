import { chmod, mkdir, rename, rm } from 'node:fs/promises';
import { availableParallelism, totalmem } from 'node:os';
import { join } from 'node:path';
import { type Clock, type Closable, CloseStack, type Random } from '../base/index.ts';
import { Gateway, type GatewayOptions } from '../gateway/index.ts';
import {
  addOriginRoutes,
  type ConfiguredOrigin,
  OriginDirectory,
  type OriginTables,
  originMigrations,
} from '../gateway/routes.ts';
import { type ApiServer, createApiServer, listen } from '../platform/http/index.ts';
import { MasterKey } from '../platform/secrets/index.ts';
import { openStore } from '../platform/store/index.ts';
import { AuditLog, Health, type Log, Registry } from '../platform/telemetry/index.ts';
import {
  AcceleratorProbe,
  ApplicationStore,
  checkTrust,
  ImageStore,
  Pool,
  type PoolTables,
  poolMigrations,
  QemuHypervisor,
  VmDisks,
} from '../pool/index.ts';
import { addPoolOperatorRoutes, addPoolReadRoutes } from '../pool/routes.ts';
import type { Vm } from '../pool/schema.ts';
import { readApplicationKeyFiles } from './application-key-files.ts';
import type { EdgeConfig } from './config.ts';
import { type DataFolder, makeDataFolder } from './data-folder.ts';
import { type ConfigChanges, compareConfigs, withReloaded } from './reload.ts';
import { addStatusPage, addStatusRoute, addTelemetryRoutes } from './routes.ts';
import { originStatus } from './status.ts';
import { readTlsFiles, type TlsFiles } from './tls-files.ts';
import { warmRoomBytes } from './warm-room.ts';

export interface EdgeDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Of this program, for people. */
  readonly version: string;
}

/** Everything that one configuration names, running. */
export class Edge implements Closable, AsyncDisposable {
  readonly #parts: CloseStack;
  readonly #gateway: Gateway;
  readonly #origins: OriginDirectory;
  /** What is in effect. */
  #config: EdgeConfig;
  readonly controlPort: number;

  private constructor(
    parts: CloseStack,
    running: { gateway: Gateway; origins: OriginDirectory; config: EdgeConfig; controlPort: number },
  ) {
    this.#parts = parts;
    this.#gateway = running.gateway;
    this.#origins = running.origins;
    this.#config = running.config;
    this.controlPort = running.controlPort;
  }

  get gatewayPort(): number {
    return this.#gateway.port;
  }

  get apiPort(): number {
    return this.#gateway.ports.api;
  }

  get sshPort(): number | undefined {
    return this.#gateway.ports.ssh;
  }

  get telnetPort(): number | undefined {
    return this.#gateway.ports.telnet;
  }

  /** Starts in the order in which parts need each other; a failure half way closes what was started. */
  static async start(deps: EdgeDeps, config: EdgeConfig, data: DataFolder): Promise<Edge> {
    const { clock, random, log, version } = deps;
    const parts = new CloseStack(clock);
    const startedAtMs = clock.nowMs();
    try {
      await makeDataFolder(data);
      const tlsFiles = await readTlsFiles(config);
      const applicationKeys = await readApplicationKeyFiles(config);
      const registry = new Registry();
      const health = new Health();

      // First of all: its lock is what keeps two processes off one data folder.
      const store = parts.add(
        'store',
        await openStore<PoolTables & OriginTables>(data.store, [...poolMigrations, ...originMigrations]),
      );
      const origins = await OriginDirectory.open(
        { clock, random, log, store },
        { edgeDomain: config.gateway.edgeDomain, tokenFolder: data.originTokens },
        configuredOrigins(config, applicationKeys),
      );
      const images = await ImageStore.open({ clock, random }, data.images);
      const masterKey = await MasterKey.readOrMake(random, data.masterKey);
      const disks = new VmDisks(data.vms);
      const applications = new ApplicationStore({ clock, random }, data.applications);
      let runningVms = (): readonly Vm[] => [];
      const hypervisor: QemuHypervisor = parts.add(
        'hypervisor',
        createHypervisor(deps, masterKey, config, data, () => runningVms()),
      );
      const pool = parts.add(
        'pool',
        await Pool.start(
          { clock, random, log, registry, store, images, disks, applications, hypervisor },
          poolOptions(config, data, origins),
        ),
      );
      runningVms = () => pool.list();
      const audit = parts.add('audit log', new AuditLog({ clock, random, log }, data.auditLog));
      const open = parts.add(
        'status server',
        await createApiServer(log, {
          title: 'Orilla: status',
          hosts: ['localhost', '127.0.0.1', '[::1]', config.control.listen.host],
        }),
      );
      parts.defer('control socket', () => rm(data.controlSocket, { force: true }));
      const operator = parts.add('control server', await createApiServer(log, { title: 'Orilla: control' }));
      // After the servers that tell how it is: they answer until it has drained.
      const gateway = parts.add(
        'gateway',
        await Gateway.start(
          { clock, random, log, registry, audit, pool, origins },
          gatewayOptions(config, tlsFiles, data, version),
        ),
      );
      let isClosing = false;
      health.register('gateway', () =>
        isClosing ? { ready: false, reason: 'is being closed' } : { ready: true },
      );
      parts.defer('readiness', () => {
        isClosing = true;
      });

      const status = async () => {
        await Promise.all([gateway.refresh(), gateway.settled()]);
        return {
          version,
          startedAtMs,
          ready: health.report().ready,
          gatewayPort: gateway.port,
          apiPort: gateway.ports.api,
          edgeDomain: config.gateway.edgeDomain,
          origins: await originStatus(origins.list(), pool.list(), registry),
          vms: pool.list(),
        };
      };
      for (const app of [open, operator]) {
        addTelemetryRoutes(app, registry, health, () => gateway.refresh());
        addStatusRoute(app, status);
        addPoolReadRoutes(app, pool, images);
      }
      addStatusPage(open);
      addPoolOperatorRoutes(operator, pool, audit);
      addOriginRoutes(operator, origins);
      const controlPort = await listen(open, config.control.listen);
      await listenPrivately(operator, data);
      return new Edge(parts, { gateway, origins, config, controlPort });
    } catch (error) {
      return parts.failWith(error);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /**
   * Takes over what can be changed without an interruption, and tells what that was and what waits for the next start. The
   * log's level is the caller's to change.
   *
   * @throws `config_invalid`, `secret_file_unusable`; nothing is changed then.
   */
  async reload(config: EdgeConfig): Promise<ConfigChanges> {
    const tlsFiles = await readTlsFiles(withReloaded(this.#config, config));
    await this.#origins.configure(configuredOrigins(config, await readApplicationKeyFiles(config)));
    this.#gateway.configure(tagOptions(config, tlsFiles));
    const changes = compareConfigs(this.#config, config);
    this.#config = withReloaded(this.#config, config);
    return changes;
  }

  /** Takes no new work, ends what is under way, stops the machines. VMs stay wanted for the next start. */
  close(): Promise<void> {
    return this.#parts.close();
  }
}

/**
 * Makes the control socket where nobody else can reach it, and moves it to its place when it is private. The store's lock is
 * ours, so one that is still there is a dead one's.
 */
async function listenPrivately(operator: ApiServer, data: DataFolder): Promise<void> {
  const folder = join(data.folder, '.control');
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { mode: 0o700 });
  try {
    const path = join(folder, 's');
    await listen(operator, { path });
    await chmod(path, 0o600);
    await rename(path, data.controlSocket);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function createHypervisor(
  { clock, log, random }: EdgeDeps,
  masterKey: MasterKey,
  { pool }: EdgeConfig,
  data: DataFolder,
  vms: () => readonly Vm[],
): QemuHypervisor {
  const { accelerator, allowUntrustedOnTcg } = pool;
  const probe = new AcceleratorProbe({ clock, log }, data.acceleratorVerdict, data.run, allowUntrustedOnTcg);
  const limits = { warmBytes: pool.warmLimit, hostBytes: totalmem() };
  const hypervisor: QemuHypervisor = new QemuHypervisor(
    {
      clock,
      log,
      random,
      masterKey,
      chooseAccelerator: async (image, signal) => {
        const chosen = accelerator === 'auto' ? (await probe.choose(image, signal)).accelerator : accelerator;
        checkTrust(image, chosen, allowUntrustedOnTcg);
        return chosen;
      },
      warmLimitBytes: () => warmRoomBytes(vms(), (configuration) => hypervisor.costOf(configuration), limits),
    },
    data.run,
    data.templates,
  );
  return hypervisor;
}

function poolOptions({ pool }: EdgeConfig, data: DataFolder, origins: OriginDirectory) {
  return {
    imageDirectoryRoot: pool.imageDirectory ?? data.imageDirectory,
    imageHosts: (owner: string) => {
      const origin = origins.find(owner);
      return origin ? [origin.upstream.authority, ...(origin.offload?.imageHosts ?? [])] : [];
    },
    upstreamOf: (owner: string) => origins.find(owner)?.upstream.authority,
    imageLimitBytes: pool.imageLimit,
    maxVms: pool.maxVms,
    maxVmsOf: (owner: string) => origins.find(owner)?.offload?.maxVms ?? 0,
    maxMemoryBytesOf: (owner: string) =>
      origins.find(owner)?.offload?.maxMemoryBytes ?? Number.POSITIVE_INFINITY,
    savedFolder: data.saved,
    readyTimeoutMs: pool.readyTimeout,
  };
}

function gatewayOptions(
  config: EdgeConfig,
  tlsFiles: TlsFiles,
  data: DataFolder,
  version: string,
): GatewayOptions {
  const { gateway, pool } = config;
  const { listen: address, edgeDomain, publicAddress, api, remoteCommands } = gateway;
  return {
    ...tagOptions(config, tlsFiles),
    version,
    workers: gateway.workers ?? availableParallelism(),
    workerFolder: data.workers,
    listen: address,
    entrances: {
      https: gateway.tls?.listen,
      foreign: {
        forwardProxy: gateway.forwardProxy?.listen,
        transparent: gateway.transparent?.listen,
        transparentTls: gateway.transparent?.tlsListen,
      },
      accessLog: gateway.accessLog,
    },
    edgeDomain,
    publicAddress,
    keyFile: data.gatewayKey,
    api,
    remoteCommands: {
      ssh: remoteCommands.ssh && {
        listen: remoteCommands.ssh.listen,
        hostKeyFile: remoteCommands.ssh.hostKeyFile ?? data.sshHostKey,
      },
      telnet: remoteCommands.telnet,
    },
    configurations: pool.configurations,
    defaultConfiguration: pool.defaultConfiguration ?? Object.keys(pool.configurations)[0] ?? '',
    suspendAfterMs: pool.suspendAfter,
  };
}

function tagOptions({ gateway }: EdgeConfig, { certificates, authorities }: TlsFiles) {
  const { showServedBy, tag, tagDigest, forwardProxy, transparent, limits } = gateway;
  const traffic = { forwardProxy, transparent, limits, certificates };
  return { showServedBy, tagForm: tag, addsTagDigest: tagDigest === 'md5', traffic, authorities };
}

const configuredOrigins = (
  { gateway }: EdgeConfig,
  applicationKeys: ReadonlyMap<string, readonly string[]>,
): ConfiguredOrigin[] =>
  Object.entries(gateway.origins).map(([name, { hosts, upstream, offload }]) => ({
    name,
    hosts,
    upstream,
    offload: offload && {
      tokenFile: offload.tokenFile,
      maxVms: offload.maxVms,
      maxMemoryBytes: offload.maxMemory,
      imageHosts: offload.imageHosts,
      sshKeys: offload.sshKeys,
      applicationKeys: [...(applicationKeys.get(name) ?? [])],
    },
  }));
