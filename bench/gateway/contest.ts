import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Clock, CloseStack, messageOf, systemClock } from '../../src/base/index.ts';
import { entryPath, packagePath, runCommand } from '../../src/platform/process/index.ts';
import type { BenchOptions } from '../figures.ts';
import { type CpuProfile, cpuProfileSchema, pidOfProfile } from './cpu-profile.ts';
import { allowedCores } from './cpu-time.ts';
import {
  findPrograms,
  HOST,
  haproxyConfiguration,
  nginxConfiguration,
  originConfiguration,
  orillaConfiguration,
  type Ports,
  type Programs,
  SIZES_BYTES,
  versionOf,
} from './peers.ts';
import { PinnedProgram } from './pinned-program.ts';
import { checkTag, isServing } from './tag-check.ts';
import { type Certificate, CLIENT_TLS, makeCertificate } from './tls-setting.ts';
import { WRK_SCRIPT } from './wrk.ts';

export const PROXIES = ['orilla', 'nginx', 'haproxy'] as const;
export type ProxyName = (typeof PROXIES)[number];

export interface Proxy {
  readonly name: ProxyName;
  readonly ports: Ports;
  readonly program: PinnedProgram;
}

/** Everything that takes part: an origin, three proxies before it, and where the load generators run. */
export interface Contest {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly proxies: Readonly<Record<ProxyName, Proxy>>;
  readonly origin: { readonly port: number; readonly program: PinnedProgram };
  /** Name and version of each program. */
  readonly versions: Readonly<Record<ProxyName | 'wrk' | 'h2load' | 'openssl', string>>;
  /** On which core the proxies run, and on which everything else. */
  readonly cores: { readonly proxies: number; readonly others: number };
  readonly programs: Programs;
  readonly wrkScript: string;
  /** What load generators that use OpenSSL read, when `OPENSSL_CONF` names it. */
  readonly clientTlsFile: string;
  /**
   * Runs `work` with a gateway that records CPU profiles, and returns those of its workers. The control process has one too,
   * which tells nothing about a request.
   */
  readonly profiled: (work: (proxy: Proxy) => Promise<void>) => Promise<CpuProfile[]>;
  readonly onProgress: BenchOptions['onProgress'];
}

/**
 * Sets up, lets `work` go on, and cleans up, also when either fails or the bench is interrupted.
 *
 * @param cannot called instead of `work`, with the reason, where this machine does not allow the measurement.
 */
export async function onContest<Result>(
  { signal, onProgress }: BenchOptions,
  work: (contest: Contest) => Promise<Result>,
  cannot: (reason: string) => Result,
): Promise<Result> {
  const [others, proxies] = process.platform === 'linux' ? allowedCores() : [];
  if (others === undefined || proxies === undefined) return cannot('needs Linux and two processors');
  const programs = await findPrograms(signal, (packages) => onProgress(`installing ${packages}`));
  if (typeof programs === 'string') return cannot(programs);
  const cores = { proxies, others };
  // The bench itself, with all its threads, must not disturb what it measures.
  await runCommand(programs.taskset, ['-a', '-c', '-p', String(others), String(process.pid)]);
  const parts = new CloseStack(systemClock, 20_000);
  try {
    const contest = await setUp(parts, programs, cores, signal, onProgress);
    return await work(contest);
  } finally {
    onProgress('cleaning up');
    await parts.close().catch((error: unknown) => console.error(`bench: ${messageOf(error)}`));
  }
}

async function setUp(
  parts: CloseStack,
  programs: Programs,
  cores: Contest['cores'],
  signal: AbortSignal,
  onProgress: BenchOptions['onProgress'],
): Promise<Contest> {
  const clock = systemClock;
  onProgress('starting an origin and the proxies');
  const folder = await mkdtemp(join(await memoryFolder(), 'orilla-bench-'));
  parts.defer('folder', () => rm(folder, { recursive: true, force: true }));
  // nginx's worker is another user.
  await chmod(folder, 0o755);
  const wrkScript = join(folder, 'summary.lua');
  await writeFile(wrkScript, WRK_SCRIPT);
  const clientTlsFile = join(folder, 'openssl.cnf');
  await writeFile(clientTlsFile, CLIENT_TLS);
  const certificate = await makeCertificate(programs.openssl, folder, HOST);
  const files = join(folder, 'files');
  await mkdir(files);
  for (const [name, sizeBytes] of Object.entries(SIZES_BYTES)) {
    await writeFile(join(files, name), Buffer.alloc(sizeBytes, name));
  }

  const ended = new AbortController();
  const start: Start = async (name, core, command, isUp) => {
    const cwd = join(folder, name);
    await mkdir(cwd, { recursive: true });
    const program = parts.add(
      name,
      await PinnedProgram.start(
        clock,
        { name, core, command, cwd, logFile: join(folder, `${name}.log`) },
        isUp,
        signal,
      ),
    );
    void program.ended.then((reason) => ended.abort(new Error(reason)));
    return program;
  };
  const startPeer = async (
    name: string,
    core: number,
    configuration: (folder: string, ports: Ports) => string,
    command: (folder: string, file: string) => string[],
  ): Promise<{ ports: Ports; program: PinnedProgram }> => {
    const home = join(folder, name);
    await mkdir(home);
    const file = join(home, 'configuration');
    const ports = await freePorts();
    await writeFile(file, configuration(home, ports));
    return { ports, program: await start(name, core, command(home, file), () => isServing(ports.http)) };
  };
  const nginxCommand = (home: string, file: string) => [
    programs.nginx,
    ...['-p', home, '-c', file, '-e', join(home, 'error.log')],
  ];

  const origin = await startPeer(
    'origin',
    cores.others,
    (home, { http }) => originConfiguration(home, files, http),
    nginxCommand,
  );
  const originPort = origin.ports.http;
  const nginx = await startPeer(
    'nginx',
    cores.proxies,
    (home, ports) => nginxConfiguration(home, ports, originPort, certificate),
    nginxCommand,
  );
  const haproxy = await startPeer(
    'haproxy',
    cores.proxies,
    (_, ports) => haproxyConfiguration(ports, originPort, certificate),
    (_, file) => [programs.haproxy, '-db', '-f', file],
  );
  const site = { originPort, certificate };
  const orilla = await startOrilla(start, 'orilla', folder, cores.proxies, site, []);
  const proxies = {
    orilla,
    nginx: { name: 'nginx', ...nginx },
    haproxy: { name: 'haproxy', ...haproxy },
  } as const;
  const certPem = await readFile(certificate.certFile, 'utf8');
  for (const proxy of Object.values(proxies)) {
    await checkTag(proxy, { signs: proxy === orilla, certPem });
  }

  let profiles = 0;
  const profiled: Contest['profiled'] = async (work) => {
    profiles += 1;
    const name = `orilla-profiled-${profiles}`;
    const profileFolder = join(folder, `profile-${profiles}`);
    // It is ended on purpose, which must not end the bench.
    const startAside: Start = async (_name, core, command, isUp) => {
      const cwd = join(folder, name);
      const logFile = join(folder, `${name}.log`);
      return PinnedProgram.start(clock, { name, core, command, cwd, logFile }, isUp, signal);
    };
    const options = ['--cpu-prof', `--cpu-prof-dir=${profileFolder}`];
    const proxy = await startOrilla(startAside, name, folder, cores.proxies, site, options);
    const workers = new Set(proxy.program.childPids());
    try {
      await work(proxy);
    } finally {
      await proxy.program.close();
    }
    const names = (await readdir(profileFolder)).filter((file) => workers.has(pidOfProfile(file) ?? 0));
    return Promise.all(
      names.map(async (file) =>
        cpuProfileSchema.parse(JSON.parse(await readFile(join(profileFolder, file), 'utf8'))),
      ),
    );
  };

  return {
    clock,
    signal: AbortSignal.any([signal, ended.signal]),
    proxies,
    origin: { port: originPort, program: origin.program },
    versions: {
      orilla: `orilla on Node ${process.versions.node}`,
      nginx: await versionOf('nginx', programs.nginx),
      haproxy: await versionOf('haproxy', programs.haproxy),
      wrk: await versionOf('wrk', programs.wrk),
      h2load: await versionOf('h2load', programs.h2load, '--version'),
      openssl: await versionOf('OpenSSL', programs.openssl, 'version'),
    },
    cores,
    programs,
    wrkScript,
    clientTlsFile,
    profiled,
    onProgress,
  };
}

type Start = (
  name: string,
  core: number,
  command: readonly string[],
  isUp: (log: string) => Promise<boolean> | boolean,
) => Promise<PinnedProgram>;

/** `orilla up` with one origin and no VM, and one worker: every request is tagged, signed and counted. */
async function startOrilla(
  start: Start,
  name: string,
  folder: string,
  core: number,
  { originPort, certificate }: { originPort: number; certificate: Certificate },
  nodeOptions: readonly string[],
): Promise<Proxy> {
  const home = join(folder, name);
  await mkdir(home);
  const file = join(home, 'orilla.yaml');
  const ports = await freePorts();
  await writeFile(file, orillaConfiguration(ports, originPort, certificate));
  const command = [process.execPath, ...nodeOptions, entryPath('cli/main')];
  const program = await start(
    name,
    core,
    [...command, 'up', '--config', file, '--data', join(home, 'data')],
    (log) => log.includes('"orilla is up"'),
  );
  return { name: 'orilla', ports, program };
}

/** Memory where the system has a folder in it; a page cache otherwise, which is as fast once it is warm. */
async function memoryFolder(): Promise<string> {
  const inMemory = '/dev/shm';
  try {
    await rm(await mkdtemp(join(inMemory, 'orilla-bench-')), { recursive: true });
    return inMemory;
  } catch {
    return tmpdir();
  }
}

async function freePorts(): Promise<Ports> {
  const servers = [createServer(), createServer()];
  // Both at the same time: a port that is free again may be given out twice.
  const [http = 0, https = 0] = await Promise.all(
    servers.map(async (server) => {
      await once(server.listen(0, '127.0.0.1'), 'listening');
      return (server.address() as AddressInfo).port;
    }),
  );
  await Promise.all(servers.map((server) => once(server.close(), 'close')));
  return { http, https };
}

/** Of this program's files, as a profile names them. */
export const ROOT = packagePath();
