/**
 * What this machine can do for Orilla, told as it is.
 * @module
 */
import { access, constants, stat, statfs } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { freemem, totalmem } from 'node:os';
import { formatBytes, hasCode, messageOf, systemCode } from '../base/index.ts';
import { runCommand } from '../platform/process/index.ts';
import { type DataFolder, makeDataFolder } from './data-folder.ts';
import type { DoctorDeps, Finding } from './doctor-finding.ts';
import { accelerator, confinement, limits } from './doctor-machines.ts';

/** Ports of a configuration that names none. */
const DEFAULT_PORTS = { gateway: 8080, 'VM API': 8081, 'status page': 8088 } as const;
const NODE_MAJOR = 24;
const DISK_WANTED_BYTES = 2 ** 30;
const MEMORY_WANTED_BYTES = 512 * 2 ** 20;

/** Looks at each thing in turn; a thing that cannot be looked at is a finding, never an exception. */
export async function* examine(
  deps: DoctorDeps,
  data: DataFolder,
  portOffset: number,
  signal: AbortSignal,
): AsyncGenerator<Finding> {
  // Before anything else does, with a mode of its own. That it cannot be made is told with the disk.
  await makeDataFolder(data).catch(() => undefined);
  yield nodeVersion();
  yield await qemu();
  yield await accelerator(deps, data, signal);
  yield await confinement();
  yield await limits();
  yield memory();
  yield await disk(data);
  const isRunning = await runsHere(data);
  yield await dataFolderState(data, isRunning);
  if (!isRunning)
    for (const [name, port] of Object.entries(DEFAULT_PORTS)) yield await portFree(name, port + portOffset);
  yield await debianTools();
}

function nodeVersion(): Finding {
  const isGood = Number(process.versions.node.split('.')[0]) >= NODE_MAJOR;
  return {
    subject: 'Node.js',
    state: isGood ? 'good' : 'bad',
    finding: process.version,
    ...(!isGood && { advice: `use Node ${NODE_MAJOR} or later; in a checkout "npm start" brings one` }),
  };
}

async function qemu(): Promise<Finding> {
  const program = process.arch === 'arm64' ? 'qemu-system-aarch64' : 'qemu-system-x86_64';
  const subject = 'QEMU';
  try {
    const { stdout } = await runCommand(program, ['--version'], { timeoutMs: 10_000 });
    return { subject, state: 'good', finding: stdout.split('\n')[0] ?? program };
  } catch (error) {
    const isMissing = hasCode(error, 'command_missing');
    return {
      subject,
      state: 'bad',
      finding: isMissing ? `${program} is not installed` : messageOf(error),
      advice: 'apt-get install qemu-system-x86; without it no VM starts and every origin serves itself',
    };
  }
}

function memory(): Finding {
  const isEnough = freemem() >= MEMORY_WANTED_BYTES;
  return {
    subject: 'memory',
    state: isEnough ? 'good' : 'notable',
    finding: `${formatBytes(freemem())} free of ${formatBytes(totalmem())}`,
    ...(!isEnough && { advice: 'a small VM takes about 200 MiB' }),
  };
}

async function disk(data: DataFolder): Promise<Finding> {
  const subject = 'disk';
  try {
    await makeDataFolder(data);
    await access(data.folder, constants.W_OK);
    const { bavail, bsize } = await statfs(data.folder);
    const isEnough = bavail * bsize >= DISK_WANTED_BYTES;
    return {
      subject,
      state: isEnough ? 'good' : 'notable',
      finding: `${formatBytes(bavail * bsize)} free in ${data.folder}`,
      ...(!isEnough && { advice: `images want ${formatBytes(DISK_WANTED_BYTES)} and more` }),
    };
  } catch (error) {
    return {
      subject,
      state: 'bad',
      finding: `cannot be written: ${messageOf(error)}`,
      advice: 'name another folder with --data',
    };
  }
}

async function dataFolderState({ folder }: DataFolder, isRunning: boolean): Promise<Finding> {
  const finding = `${folder}: ${isRunning ? 'an Orilla runs on it' : 'no Orilla runs on it'}`;
  const mode = await stat(folder).then(
    (status) => status.mode,
    () => 0,
  );
  if ((mode & 0o007) === 0) return { subject: 'data folder', state: 'good', finding };
  return {
    subject: 'data folder',
    state: 'notable',
    finding: `${finding}; every user of this host may look into it`,
    advice: `so may a QEMU that was taken over: chmod o= ${folder}`,
  };
}

function runsHere(data: DataFolder): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(data.controlSocket);
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

async function portFree(name: string, port: number): Promise<Finding> {
  const subject = `port ${port}`;
  const server = createServer();
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject).listen(port, resolve);
    });
    return { subject, state: 'good', finding: `free for the ${name}` };
  } catch (error) {
    return systemCode(error) === 'EADDRINUSE'
      ? {
          subject,
          state: 'bad',
          finding: `taken; the ${name} wants it`,
          advice: 'use --port-offset, or end that program',
        }
      : { subject, state: 'bad', finding: messageOf(error) };
  } finally {
    server.close();
  }
}

async function debianTools(): Promise<Finding> {
  const subject = 'image builder';
  try {
    await runCommand('dpkg-deb', ['--version'], { timeoutMs: 10_000 });
    await runCommand('apt-get', ['--version'], { timeoutMs: 10_000 });
    return { subject, state: 'good', finding: 'apt-get and dpkg-deb are here' };
  } catch {
    return {
      subject,
      state: 'notable',
      finding: 'apt-get or dpkg-deb is missing',
      advice: 'build images on a Debian machine and bring them with "orilla image import"',
    };
  }
}
