/**
 * How a machine's state leaves QEMU, and enters another: over a Unix socket of the run directory, because a QEMU of ours may
 * start no program and takes no file's name (QEMU, "Migration").
 * @module
 */
import { once } from 'node:events';
import { chown, rm } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Clock } from '../../../base/index.ts';
import { poolError } from '../../errors.ts';
import type { MachineLink } from './machine-link.ts';
import type { QmpClient } from './qmp.ts';
import { RUN_FILES } from './run-files.ts';

const LOOK_INTERVAL_MS = 5;
/** QEMU's own is 128 MiB/s, for networks. */
const NO_BANDWIDTH_LIMIT = { 'max-bandwidth': 2 ** 40 };
/** What `query-migrate` says of one that has come to an end; before the first one it says nothing. */
const AT_REST: ReadonlySet<string | undefined> = new Set([
  undefined,
  'none',
  'completed',
  'failed',
  'cancelled',
]);

export interface StatePlace {
  readonly directory: string;
  /** Of a confined QEMU. */
  readonly link: MachineLink | undefined;
}

/**
 * Has QEMU send its state, and `write` take all of it.
 *
 * @param limitBytes what comes beyond is no state.
 * @throws `machine_failed`, what `write` throws, the signal's reason.
 */
export async function sendState(
  clock: Clock,
  monitor: QmpClient,
  { directory, link }: StatePlace,
  limitBytes: number,
  write: (state: AsyncIterable<Buffer>) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const socketPath = join(directory, RUN_FILES.state);
  // Of one that died over it.
  await rm(socketPath, { force: true });
  const server = createServer().listen(socketPath);
  try {
    await once(server, 'listening', { signal });
    if (link) await chown(socketPath, link.userId, link.userId);
    const written = firstVisitor(server, signal).then((socket) => write(limited(socket, limitBytes)));
    // It is waited for below, unless QEMU refuses before.
    written.catch(() => undefined);
    await monitor.execute('migrate-set-parameters', NO_BANDWIDTH_LIMIT);
    await monitor.execute('migrate', { uri: `unix:${RUN_FILES.state}` });
    await Promise.all([written, untilSent(clock, monitor, signal)]);
  } finally {
    server.close();
  }
}

/** Gives a QEMU that was started to wait for it (`-incoming defer`) its state, and lets the guest go on. */
export async function receiveState(
  clock: Clock,
  monitor: QmpClient,
  { directory }: StatePlace,
  state: AsyncIterable<Buffer>,
  signal: AbortSignal,
): Promise<void> {
  await monitor.execute('migrate-incoming', { uri: `unix:${RUN_FILES.state}` });
  const socket = connect(join(directory, RUN_FILES.state));
  await pipeline(state, socket, { signal });
  while ((await runStateOf(monitor)) === 'inmigrate') await clock.sleep(LOOK_INTERVAL_MS, signal);
  await resume(monitor);
}

/** Lets a machine run that was brought to rest to be saved, however far that came. */
export async function callOffSaving(clock: Clock, monitor: QmpClient, signal: AbortSignal): Promise<void> {
  await monitor.execute('migrate_cancel');
  // One that came to its end after this would stop the guest once more.
  while (!AT_REST.has(await migrationStatus(monitor))) await clock.sleep(LOOK_INTERVAL_MS, signal);
  await resume(monitor);
}

/** With its disks, which QEMU has given up at the end of a migration. @throws `machine_failed` */
export async function resume(monitor: QmpClient): Promise<void> {
  await monitor.execute('cont');
  const status = await runStateOf(monitor);
  if (status !== 'running')
    throw poolError('machine_failed', `QEMU is to run, and says that it is ${status}`);
}

/** QEMU, `RunState`. */
export async function runStateOf(monitor: QmpClient): Promise<string | undefined> {
  return ((await monitor.execute('query-status')) as { status?: string }).status;
}

async function firstVisitor(server: Server, signal: AbortSignal): Promise<Socket> {
  const [socket] = (await once(server, 'connection', { signal })) as [Socket];
  return socket;
}

async function* limited(chunks: AsyncIterable<Buffer>, limitBytes: number): AsyncGenerator<Buffer> {
  let sizeBytes = 0;
  for await (const chunk of chunks) {
    sizeBytes += chunk.length;
    if (sizeBytes > limitBytes) throw poolError('machine_failed', "the machine's state has no end");
    yield chunk;
  }
}

async function untilSent(clock: Clock, monitor: QmpClient, signal: AbortSignal): Promise<void> {
  for (;;) {
    const status = await migrationStatus(monitor);
    if (status === 'completed') return;
    if (AT_REST.has(status)) {
      throw poolError('machine_failed', `QEMU: the state could not be written (${status})`);
    }
    await clock.sleep(LOOK_INTERVAL_MS, signal);
  }
}

const migrationStatus = async (monitor: QmpClient): Promise<string | undefined> =>
  ((await monitor.execute('query-migrate')) as { status?: string }).status;
