import { writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { type Clock, deadline } from '../../../base/index.ts';
import { AgentCommands } from '../../guest-commands/agent-commands.ts';
import type { GuestCommands } from '../../guest-commands/guest-commands.ts';
import type { Machine } from '../hypervisor.ts';
import { type SaveableMachine, type SaverDeps, saveMachine } from './machine-saver.ts';
import type { QemuLauncher } from './qemu-launcher.ts';
import { QmpClient } from './qmp.ts';
import { keepShort, RUN_FILES } from './run-files.ts';
import { waitAside } from './wait-aside.ts';

export interface QemuMachineDeps extends SaverDeps {
  readonly launcher: QemuLauncher;
}

const LOG_LOOK_INTERVAL_MS = 5000;
/** An agent that is started at the first word to it takes some hundred milliseconds. */
const AGENT_START_LIMIT_MS = 1000;

/** A machine of what was launched, or taken over, from now on the caller's: its directory goes when it ends. */
export function qemuMachine(
  deps: QemuMachineDeps,
  machine: SaveableMachine,
  addresses: Machine['addresses'],
): Machine {
  const { qemu, directory, record } = machine;
  const { clock, log, launcher } = deps;
  const id = basename(directory);
  const commands = new AgentCommands(deps, join(directory, RUN_FILES.commands), () => {
    // QEMU may have put a link there, or it is there already.
    writeFile(join(directory, RUN_FILES.asked), '', { flag: 'wx' }).catch(() => undefined);
  });
  const hangUp = () => commands.close();
  launcher.closed.addEventListener('abort', hangUp, { once: true, signal: qemu.ended });
  qemu.ended.addEventListener('abort', hangUp, { once: true });
  const keeping = keepLogsShort(clock, directory, qemu.ended);
  const exited = qemu.exited.then(async ({ reason }) => {
    await keeping;
    const lastWords = await launcher.lastWordsOf(id);
    await launcher
      .clear(id)
      .catch((err: unknown) => log.warn({ err, directory }, 'run directory not removed'));
    return lastWords === '' ? reason : `${reason}: ${lastWords}`;
  });
  const stop = async () => {
    await qemu.kill();
    await exited;
  };
  // Where it was saved it is there then, and can set the guest's clock as soon as that goes on.
  const startAgent = () => commands.ping(deadline(clock, AGENT_START_LIMIT_MS)).catch(() => undefined);
  return {
    id,
    pid: qemu.pid,
    addresses,
    accelerator: record.accelerator,
    commands,
    exited,
    stop,
    suspend: async (folder, signal) => {
      await startAgent();
      await saveMachine(deps, machine, 'suspend', folder, signal);
      await stop();
    },
    snapshot: async (folder, signal) => {
      await startAgent();
      await saveMachine(deps, machine, 'snapshot', folder, signal);
    },
    shutDown: async (limitMs) => {
      await powerDown(clock, machine, commands, limitMs);
      await stop();
    },
  };
}

/** Asks the guest's agent and presses its power button, because a guest may hear one only; waits for what comes of that. */
async function powerDown(
  clock: Clock,
  { qemu, directory }: SaveableMachine,
  commands: GuestCommands,
  limitMs: number,
): Promise<void> {
  const patience = AbortSignal.any([qemu.ended, deadline(clock, limitMs, 'the guest does not power off')]);
  try {
    await Promise.any([commands.shutDown(patience), pressPowerButton(clock, directory, patience)]);
    await new Promise<void>((resolve) => {
      if (patience.aborted) resolve();
      else patience.addEventListener('abort', () => resolve(), { once: true });
    });
  } catch {
    // Where nobody listens, in the guest or at the monitor, it is ended.
  }
}

async function pressPowerButton(clock: Clock, directory: string, signal: AbortSignal): Promise<void> {
  const monitor = await QmpClient.connect(clock, join(directory, RUN_FILES.monitor), signal);
  await monitor.execute('system_powerdown').finally(() => monitor.close());
}

/** Until QEMU has ended. */
async function keepLogsShort(clock: Clock, directory: string, ended: AbortSignal): Promise<void> {
  while (!ended.aborted) {
    await waitAside(clock, LOG_LOOK_INTERVAL_MS, ended);
    for (const log of [RUN_FILES.console, RUN_FILES.errors]) await keepShort(join(directory, log));
  }
}
