import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import { deadline } from '../../../base/index.ts';
import { probeHttp, untilReady } from '../../readiness.ts';
import type { Accelerator, Machine, StartedMachine } from '../hypervisor.ts';
import { type IdentifiedSpec, INPUT } from './command-line.ts';
import { GuestAgent, resumeMessage } from './guest-agent.ts';
import { addressesOf, type Launched } from './qemu-launcher.ts';
import { type QemuMachineDeps, qemuMachine } from './qemu-machine.ts';
import { INPUT_DESCRIPTOR } from './qemu-process.ts';
import type { QmpClient } from './qmp.ts';
import { RUN_FILES, readTail } from './run-files.ts';
import { sharedMemoryStays } from './template-maker.ts';
import type { Template } from './template-store.ts';

/** One that waited goes on in some milliseconds. */
const GO_ON_LIMIT_MS = 2000;
/** Answers until emulation has translated nearly all that serving one takes; the third costs an eighth of the first. */
const WARMING_PROBES = 2;

/** A machine that is there before anybody knows whose it will be. */
export interface WaitingMachine {
  readonly id: string;
  /** Aborts when it is no more. */
  readonly ended: AbortSignal;
  /** Tells it who it is and lets it go on. When that fails, it is to be stopped. */
  goOn(name: string, signal: AbortSignal): Promise<StartedMachine>;
  stop(): Promise<void>;
}

/** A machine that begins where the template's guest had got to, as this VM's. @throws what a start does */
export function startClone(
  deps: QemuMachineDeps,
  template: Template,
  spec: IdentifiedSpec,
  accelerator: Accelerator,
  signal: AbortSignal,
): Promise<StartedMachine> {
  return clone(deps, template, spec, accelerator, signal, async (machine, { agent, monitor }, launched) => {
    agent.close();
    monitor.close();
    return { ...machine, startedAtMs: launched.startedAtMs, origin: 'clone' };
  });
}

/**
 * A machine that has begun there, has answered to probes, and was brought to rest again. Emulated, it has the code for the
 * next answer translated: that takes most of the time of a clone's first one.
 */
export function prepareClone(
  deps: QemuMachineDeps,
  template: Template,
  spec: IdentifiedSpec,
  accelerator: Accelerator,
  signal: AbortSignal,
): Promise<WaitingMachine> {
  const { clock, random } = deps;
  const { readyPath } = spec.image.manifest.http;
  return clone(deps, template, spec, accelerator, signal, async (machine, { agent, monitor }, launched) => {
    for (let probe = 0; probe < WARMING_PROBES; probe += 1) {
      await untilReady(clock, probeHttp, machine.addresses[0], readyPath, launched.waiting);
    }
    agent.tell('pause\n');
    await agent.hear('paused', launched.waiting);
    await monitor.execute('stop');
    const hangUp = () => {
      agent.close();
      monitor.close();
    };
    const { ended } = launched.qemu;
    const goOn = async (name: string, wanted: AbortSignal): Promise<StartedMachine> => {
      const startedAtMs = clock.monotonicMs();
      agent.tell(resumeMessage(name, clock.nowMs(), random));
      await monitor.execute('cont');
      const tooLate = deadline(clock, GO_ON_LIMIT_MS, 'the guest does not go on');
      await agent.hear('resumed', AbortSignal.any([wanted, ended, tooLate]));
      hangUp();
      return { ...machine, startedAtMs, origin: 'warm' };
    };
    const stop = async () => {
      hangUp();
      await machine.stop();
    };
    return { id: machine.id, ended, goOn, stop };
  });
}

/** @param bringUp gets the machine when its guest goes on, and what it is talked to by; when it fails, nothing is left. */
function clone<Outcome>(
  deps: QemuMachineDeps,
  template: Template,
  spec: IdentifiedSpec,
  accelerator: Accelerator,
  signal: AbortSignal,
  bringUp: (
    machine: Machine,
    talk: { readonly agent: GuestAgent; readonly monitor: QmpClient },
    launched: Launched,
  ) => Promise<Outcome>,
): Promise<Outcome> {
  const { clock, random, launcher } = deps;
  const inputs = [template.kernel, spec.image.initrdPath, template.memory, template.state];
  const request = { spec, accelerator, memory: 'clone', inputs } as const;
  return launcher.launch(request, signal, async (launched) => {
    const { directory, waiting } = launched;
    const monitor = await launcher.monitorOf(launched);
    let agent: GuestAgent | undefined;
    try {
      // Its console goes on where the template's had got to.
      await appendFile(join(directory, RUN_FILES.console), await readTail(template.console));
      // Before the guest runs: what it was reading from must be open when it goes on.
      agent = await GuestAgent.connect(clock, join(directory, RUN_FILES.agent), waiting);
      agent.tell(resumeMessage(spec.name, clock.nowMs(), random));
      await monitor.execute('migrate-set-capabilities', sharedMemoryStays(true));
      await monitor.execute('migrate-incoming', { uri: `fd:${INPUT_DESCRIPTOR + INPUT.state}` });
      await agent.hear('resumed', waiting);
      const addresses = await addressesOf(launched, monitor, spec.image.manifest.http.port);
      return await bringUp(qemuMachine(deps, launched, addresses), { agent, monitor }, launched);
    } catch (error) {
      agent?.close();
      monitor.close();
      throw error;
    }
  });
}
