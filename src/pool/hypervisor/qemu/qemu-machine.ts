import { basename, join } from 'node:path';
import { type Clock, deadline } from '../../../base/index.ts';
import { AgentCommands } from '../../guest-commands/agent-commands.ts';
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

/** A machine of what was launched, or taken over, from now on the caller's: its directory goes when it ends. */
export function qemuMachine(
  deps: QemuMachineDeps,
  machine: SaveableMachine,
  addresses: Machine['addresses'],
): Machine {
  const { qemu, directory, record } = machine;
  const { clock, log, launcher } = deps;
  const id = basename(directory);
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
  return {
    id,
    pid: qemu.pid,
    addresses,
    accelerator: record.accelerator,
    commandSocket: join(directory, RUN_FILES.commands),
    exited,
    stop,
    suspend: async (folder, signal) => {
      await saveMachine(deps, machine, 'suspend', folder, signal);
      await stop();
    },
    snapshot: (folder, signal) => saveMachine(deps, machine, 'snapshot', folder, signal),
    shutDown: async (limitMs) => {
      await powerDown(deps, machine, limitMs);
      await stop();
    },
  };
}

/** Asks the guest's agent and presses its power button, because a guest may hear one only; waits for what comes of that. */
async function powerDown(
  deps: QemuMachineDeps,
  { qemu, directory }: SaveableMachine,
  limitMs: number,
): Promise<void> {
  const { clock } = deps;
  const patience = AbortSignal.any([qemu.ended, deadline(clock, limitMs, 'the guest does not power off')]);
  const agent = new AgentCommands(deps, join(directory, RUN_FILES.commands));
  patience.addEventListener('abort', () => agent.close(), { once: true });
  try {
    await Promise.any([agent.shutDown(), pressPowerButton(clock, directory, patience)]);
    await new Promise<void>((resolve) => {
      if (patience.aborted) resolve();
      else patience.addEventListener('abort', () => resolve(), { once: true });
    });
  } catch {
    // Where nobody listens, in the guest or at the monitor, it is ended.
  } finally {
    agent.close();
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
