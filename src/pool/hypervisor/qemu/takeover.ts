import { readlinkSync } from 'node:fs';
import { lstat, realpath, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { deadline, messageOf } from '../../../base/index.ts';
import { namesIn } from '../../../platform/files/index.ts';
import { endProcess, type ProcessIdentity, processesIn } from '../../../platform/process/index.ts';
import { poolError } from '../../errors.ts';
import type { LeftMachines, Machine } from '../hypervisor.ts';
import { AdoptedQemu } from './adopted-qemu.ts';
import { NAME_PREFIX } from './command-line.ts';
import { machineLink } from './machine-link.ts';
import { readMachineRecord } from './machine-record.ts';
import { callOffSaving, runStateOf } from './migration.ts';
import { addressesOf } from './qemu-launcher.ts';
import { type QemuMachineDeps, qemuMachine } from './qemu-machine.ts';
import { QmpClient } from './qmp.ts';
import { RUN_FILES } from './run-files.ts';

/** A monitor answers in milliseconds, on a busy host in a second. */
const MONITOR_LIMIT_MS = 5000;
/** Of a machine that we were saving when we died: before, while and after its state was written (QEMU, `RunState`). */
const AT_REST: ReadonlySet<string | undefined> = new Set(['paused', 'finish-migrate', 'postmigrate']);

export type TakeoverDeps = QemuMachineDeps;

/**
 * Takes over the QEMUs of ours that work below the run folder, and leaves nothing else of ours, neither process nor file. One
 * is known by the directory in which it works, which the kernel tells and no other QEMU can get into; there lies what was
 * written before it was started.
 */
export async function takeOverMachines(deps: TakeoverDeps, runFolder: string): Promise<LeftMachines> {
  const processes = processesIn(runFolder, (argv) => argv.some((arg) => arg.startsWith(NAME_PREFIX)));
  const taken = await Promise.all(
    processes.map(async (identity) => {
      try {
        return await takeOver(deps, runFolder, identity);
      } catch (error) {
        deps.log.info({ pid: identity.pid, reason: messageOf(error) }, 'machine not taken over');
        await endProcess(deps.clock, identity, 0);
        return undefined;
      }
    }),
  );
  const machines = taken.filter((machine) => machine !== undefined);
  const kept = new Set(machines.map(({ id }) => id));
  for (const name of await namesIn(runFolder)) {
    if (!kept.has(name)) await rm(join(runFolder, name), { recursive: true, force: true });
  }
  await (await deps.launcher.cgroups())?.removeAllBut(kept);
  return { machines, endedCount: taken.length - machines.length };
}

/** @throws `machine_failed` when it is none that serves somebody. */
async function takeOver(deps: TakeoverDeps, runFolder: string, identity: ProcessIdentity): Promise<Machine> {
  const { clock, launcher } = deps;
  const id = await idOf(runFolder, identity);
  const directory = launcher.directoryOf(id);
  const record = await readMachineRecord(directory);
  if (!record) throw poolError('machine_failed', `no record says what runs in ${directory}`);
  const { port, linkIndex } = record;
  const link = linkIndex === undefined ? undefined : machineLink(linkIndex);
  const qemu = new AdoptedQemu(clock, identity);
  const patience = AbortSignal.any([qemu.ended, deadline(clock, MONITOR_LIMIT_MS, 'the monitor is silent')]);
  const monitor = await QmpClient.connect(clock, join(directory, RUN_FILES.monitor), patience);
  const hangUp = () => monitor.close();
  patience.addEventListener('abort', hangUp, { once: true });
  try {
    const { name } = (await monitor.execute('query-name')) as { name?: string };
    const status = await runStateOf(monitor);
    const isBeingSaved = AT_REST.has(status);
    if (name !== `${NAME_PREFIX}${id}` || (status !== 'running' && !isBeingSaved)) {
      throw poolError('machine_failed', `QEMU says that it is ${name}, ${status}`);
    }
    if (isBeingSaved) await callOffSaving(clock, monitor, patience);
    const addresses = await addressesOf({ link }, monitor, port);
    const machine = qemuMachine(deps, { qemu, directory, link, record }, addresses);
    if (await hasFile(directory, RUN_FILES.asked)) {
      // Its agent may have an answer for the process before us.
      machine.commands?.ping().catch((error: unknown) => {
        deps.log.info({ machine: id, reason: messageOf(error) }, "a guest's agent is silent");
      });
    }
    return machine;
  } finally {
    patience.removeEventListener('abort', hangUp);
    monitor.close();
  }
}

const hasFile = (directory: string, name: string): Promise<boolean> =>
  lstat(join(directory, name)).then(
    () => true,
    () => false,
  );

/** A machine's id is the name of its directory, which lies in the run folder itself. */
async function idOf(runFolder: string, { pid }: ProcessIdentity): Promise<string> {
  const directory = readlinkSync(`/proc/${pid}/cwd`);
  if (dirname(directory) === (await realpath(runFolder))) return basename(directory);
  throw poolError('machine_failed', `it works in ${directory}, which is no run directory`);
}
