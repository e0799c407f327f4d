import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { get, type IncomingHttpHeaders } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { type Clock, CloseStack, messageOf, systemClock } from '../../src/base/index.ts';
import { entryPath, packagePath, runCommand } from '../../src/platform/process/index.ts';
import type { BenchOptions } from '../figures.ts';
import { type CpuProfile, cpuProfileSchema } from './cpu-profile.ts';
import { allowedCores } from './cpu-time.ts';
import {
  findPrograms,
  HOST,
  haproxyConfiguration,
  nginxConfiguration,
  originConfiguration,
  orillaConfiguration,
  type Programs,
  SEEN_PATH,
  SIZES_BYTES,
  versionOf,
} from './peers.ts';
import { PinnedProgram } from './pinned-program.ts';
import { WRK_SCRIPT } from './wrk.ts';

export const PROXIES = ['orilla', 'nginx', 'haproxy'] as const;
export type ProxyName = (typeof PROXIES)[number];

export interface Proxy {
  readonly name: ProxyName;
  readonly port: number;
  readonly program: PinnedProgram;
}

/** Everything that takes part: an origin, three proxies before it, and where the load generators run. */
export interface Contest {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly proxies: Readonly<Record<ProxyName, Proxy>>;
  readonly origin: { readonly port: number; readonly program: PinnedProgram };
  /** Name and version of each program. */
  readonly versions: Readonly<Record<ProxyName | 'wrk', string>>;
  /** On which core the proxies run, and on which everything else. */
  readonly cores: { readonly proxies: number; readonly others: number };
  readonly programs: Programs;
  readonly wrkScript: string;
  /** Runs `work` with a gateway that records a CPU profile, and returns the profiles: one a thread. */
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
    configuration: (folder: string, port: number) => string,
    command: (folder: string, file: string) => string[],
  ): Promise<{ port: number; program: PinnedProgram }> => {
    const home = join(folder, name);
    await mkdir(home);
    const file = join(home, 'configuration');
    const port = await freePort();
    await writeFile(file, configuration(home, port));
    return { port, program: await start(name, core, command(home, file), () => isServing(port)) };
  };
  const nginxCommand = (home: string, file: string) => [
    programs.nginx,
    ...['-p', home, '-c', file, '-e', join(home, 'error.log')],
  ];

  const origin = await startPeer(
    'origin',
    cores.others,
    (home, port) => originConfiguration(home, files, port),
    nginxCommand,
  );
  const originPort = origin.port;
  const nginx = await startPeer(
    'nginx',
    cores.proxies,
    (home, port) => nginxConfiguration(home, port, originPort),
    nginxCommand,
  );
  const haproxy = await startPeer(
    'haproxy',
    cores.proxies,
    (_, port) => haproxyConfiguration(port, originPort),
    (_, file) => [programs.haproxy, '-db', '-f', file],
  );
  const orilla = await startOrilla(start, 'orilla', folder, cores.proxies, originPort, []);
  const proxies = {
    orilla,
    nginx: { name: 'nginx', ...nginx },
    haproxy: { name: 'haproxy', ...haproxy },
  } as const;
  for (const proxy of Object.values(proxies)) await checkTag(proxy);

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
    const proxy = await startOrilla(startAside, name, folder, cores.proxies, originPort, options);
    try {
      await work(proxy);
    } finally {
      await proxy.program.close();
    }
    const names = (await readdir(profileFolder)).filter((file) => file.endsWith('.cpuprofile'));
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
    origin,
    versions: {
      orilla: `orilla on Node ${process.versions.node}`,
      nginx: await versionOf('nginx', programs.nginx),
      haproxy: await versionOf('haproxy', programs.haproxy),
      wrk: await versionOf('wrk', programs.wrk),
    },
    cores,
    programs,
    wrkScript,
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

const upSchema = z.object({ msg: z.literal('orilla is up'), gatewayPort: z.int() });

/** `orilla up` with one origin and no VM: every request is tagged, signed and counted. */
async function startOrilla(
  start: Start,
  name: string,
  folder: string,
  core: number,
  originPort: number,
  nodeOptions: readonly string[],
): Promise<Proxy> {
  const home = join(folder, name);
  await mkdir(home);
  const file = join(home, 'orilla.yaml');
  await writeFile(file, orillaConfiguration(originPort));
  const command = [process.execPath, ...nodeOptions, entryPath('cli/main')];
  let port: number | undefined;
  const program = await start(
    name,
    core,
    [...command, 'up', '--config', file, '--data', join(home, 'data')],
    (log) => {
      const line = log.split('\n').find((text) => text.includes('"orilla is up"'));
      if (line !== undefined) port = upSchema.parse(JSON.parse(line)).gatewayPort;
      return port !== undefined;
    },
  );
  return { name: 'orilla', port: port ?? 0, program };
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

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

function look(
  port: number,
  path: string,
): Promise<{ status: number | undefined; headers: IncomingHttpHeaders }> {
  return new Promise((resolve, reject) => {
    const request = get(
      { host: '127.0.0.1', port, path, headers: { Host: HOST }, agent: false },
      (answer) => {
        answer.resume().once('end', () => resolve({ status: answer.statusCode, headers: answer.headers }));
      },
    );
    request.once('error', reject);
  });
}

const isServing = async (port: number): Promise<boolean> => (await look(port, SEEN_PATH)).status === 200;

/** What each proxy has to do to each request, as the origin sees it. */
async function checkTag({ name, port }: Proxy): Promise<void> {
  const { headers } = await look(port, SEEN_PATH);
  if (headers['seen-tag'] === undefined) throw new Error(`${name} adds no tag`);
  const signature = String(headers['seen-signature-input'] ?? '');
  if (name === 'orilla' && !signature.includes('alg="hmac-sha256"')) {
    throw new Error(`the gateway does not sign its tag with the origin's key: ${signature}`);
  }
}

/** Of this program's files, as a profile names them. */
export const ROOT = packagePath();
