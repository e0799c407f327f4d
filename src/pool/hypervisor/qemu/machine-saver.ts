import { rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, deadline, formatBytes, messageOf, systemCode } from '../../../base/index.ts';
import type { Log } from '../../../platform/telemetry/index.ts';
import { copyDisks, flushCopies } from '../../disks/disk-copy.ts';
import { poolError } from '../../errors.ts';
import type { MachineRecord } from './machine-record.ts';
import { callOffSaving, resume, type StatePlace, sendState } from './migration.ts';
import type { RunningQemu } from './qemu-process.ts';
import { QmpClient } from './qmp.ts';
import { RUN_FILES } from './run-files.ts';
import { beginDraft, disksIn, publish, type Sealing, writeRecord, writeState } from './saved-state.ts';

/** QEMU's own part of a state, beside the memory; a microvm's has some 64 KiB. */
const DEVICES_LIMIT_BYTES = 64 * 2 ** 20;
/** Each page comes with some octets that say which it is. */
const PAGE_SHARE = 1 / 256;
const LEAST_LIMIT_MS = 30_000;
const GO_ON_LIMIT_MS = 10_000;
/** Also what is shared, or was once. */
const WITH_MEMORY = { capabilities: [{ capability: 'x-ignore-shared', state: false }] };
/** A slow disk. Disks to copy have no limit but the caller's. */
const SLOWEST_BYTES_PER_MS = 16 * 1024;

export interface SaverDeps extends Sealing {
  readonly clock: Clock;
  readonly log: Log;
}

/** A machine of which its state can be taken. */
export interface SaveableMachine extends StatePlace {
  readonly qemu: RunningQemu;
  readonly record: MachineRecord;
}

/** How long a machine's state may take on its way out or in. */
export const stateLimitMs = ({ memoryBytes }: MachineRecord['configuration']): number =>
  LEAST_LIMIT_MS + memoryBytes / SLOWEST_BYTES_PER_MS;

/**
 * Brings a machine to rest and saves it into a folder, which appears whole.
 *
 * @param kind after `suspend` it is to be ended, at rest; after `snapshot` it goes on, and its disks were copied too. When
 *   either fails it goes on.
 * @throws `machine_failed`, `disk_full`, the signal's reason.
 */
export async function saveMachine(
  deps: SaverDeps,
  machine: SaveableMachine,
  kind: 'suspend' | 'snapshot',
  folder: string,
  signal: AbortSignal,
): Promise<void> {
  const { clock } = deps;
  const { qemu, directory } = machine;
  const alive = AbortSignal.any([signal, qemu.ended]);
  const monitor = await QmpClient.connect(clock, join(directory, RUN_FILES.monitor), alive);
  try {
    const draft = await beginDraft(folder);
    try {
      await checkRoom(draft, machine.record);
      await takeState(deps, machine, monitor, kind, draft, alive);
      if (kind === 'snapshot') await flushCopies(machine.record.disks, disksIn(draft));
      await publish(draft, folder);
    } catch (error) {
      await goOn(deps, machine, monitor);
      await rm(draft, { recursive: true, force: true });
      throw error;
    }
  } catch (error) {
    signal.throwIfAborted();
    if (systemCode(error) === 'ENOSPC') throw poolError('disk_full', `no room for ${folder}`, error);
    qemu.ended.throwIfAborted();
    throw error;
  } finally {
    monitor.close();
  }
}

/** Before the guest is brought to rest for nothing. */
async function checkRoom(draft: string, { configuration }: MachineRecord): Promise<void> {
  const { bavail, bsize } = await statfs(draft);
  const wantedBytes = configuration.memoryBytes;
  if (bavail * bsize >= wantedBytes) return;
  throw poolError(
    'disk_full',
    `the machine's memory may take ${formatBytes(wantedBytes)}; there are ${formatBytes(bavail * bsize)} free`,
  );
}

async function takeState(
  deps: SaverDeps,
  machine: SaveableMachine,
  monitor: QmpClient,
  kind: 'suspend' | 'snapshot',
  draft: string,
  alive: AbortSignal,
): Promise<void> {
  const { clock } = deps;
  const { configuration, disks } = machine.record;
  const tooLate = deadline(clock, stateLimitMs(configuration), 'the state was not written in time');
  const soon = AbortSignal.any([alive, tooLate]);
  const limitBytes = Math.ceil(configuration.memoryBytes * (1 + PAGE_SHARE)) + DEVICES_LIMIT_BYTES;
  const write = (state: AsyncIterable<Buffer>) => writeState(deps, draft, machine.record, state, soon);
  await monitor.execute('stop');
  // A clone came by a stream without its memory, and would leave by one that says so.
  await monitor.execute('migrate-set-capabilities', WITH_MEMORY);
  await sendState(clock, monitor, machine, limitBytes, write, soon);
  await writeRecord(draft, machine.record);
  if (kind === 'suspend') return;
  await copyDisks(disks, disksIn(draft), alive);
  await resume(monitor);
}

/** After what went wrong. A guest that does not go on is noticed as one that does not answer. */
async function goOn(
  { clock, log }: SaverDeps,
  { qemu, directory }: SaveableMachine,
  monitor: QmpClient,
): Promise<void> {
  if (qemu.ended.aborted) return;
  const patience = AbortSignal.any([
    qemu.ended,
    deadline(clock, GO_ON_LIMIT_MS, 'the machine does not go on'),
  ]);
  await callOffSaving(clock, monitor, patience).catch((error: unknown) =>
    log.error({ directory, reason: messageOf(error) }, 'a machine that was not saved does not go on'),
  );
}
