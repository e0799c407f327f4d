import { createReadStream, createWriteStream } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { type Clock, deadline, messageOf } from '../../../base/index.ts';
import { areUntouched } from '../../disks/machine-disk.ts';
import { probeHttp, untilReady } from '../../readiness.ts';
import type { Accelerator, StartedMachine } from '../hypervisor.ts';
import type { IdentifiedSpec } from './command-line.ts';
import { GuestAgent, resumeMessage } from './guest-agent.ts';
import { callOffSaving, sendState } from './migration.ts';
import { addressesOf, type Launched } from './qemu-launcher.ts';
import { type QemuMachineDeps, qemuMachine } from './qemu-machine.ts';
import type { QmpClient } from './qmp.ts';
import { RUN_FILES, readTail } from './run-files.ts';
import type { Template } from './template-store.ts';

/** A guest whose agent says nothing for twice as long as it took to boot, after it answers, has none: hosts may be busy. */
const HELLO_PER_BOOT = 2;
const LEAST_HELLO_MS = 2000;
/** A guest that answers comes to rest, and goes on, in milliseconds. */
const AGENT_TIMEOUT_MS = 10_000;
/** Holds the header of a Linux kernel, whose setup part has at most 65 sectors (Linux, Documentation/arch/x86/boot). */
const KERNEL_PART_BYTES = 64 * 1024;
/** A microvm's has some 64 KiB. */
const STATE_LIMIT_BYTES = 64 * 2 ** 20;
/** Whether only state is sent, because the memory is in its file already. */
export const sharedMemoryStays = (state: boolean) => ({
  capabilities: [{ capability: 'x-ignore-shared', state }],
});

export type TemplateMakerDeps = QemuMachineDeps;

/** What a boot in a template's memory came to. */
export type TemplateBoot =
  /** The template's files are whole; the machine is of no further use, and `ended` when nothing writes to them any more. */
  | { readonly isTaken: true; readonly startedAtMs: number; readonly ended: Promise<void> }
  /** There is no template, and whether there will ever be one of such a guest. The machine runs as any other does. */
  | { readonly isTaken: false; readonly isPossible: boolean; readonly machine: StartedMachine };

/**
 * Boots a machine in the memory of a template, and when its guest answers keeps its state, too. No request but the probes'
 * ever reached it, so there is nothing of anybody in it.
 *
 * @throws `machine_failed`, `disk_full` when the machine did not come up; nothing of it is left then.
 */
export function bootTemplate(
  deps: TemplateMakerDeps,
  template: Template,
  spec: IdentifiedSpec,
  accelerator: Accelerator,
  signal: AbortSignal,
): Promise<TemplateBoot> {
  const { clock, log, launcher } = deps;
  const { image } = spec;
  const inputs = [image.kernelPath, image.initrdPath, template.memory];
  return launcher.launch({ spec, accelerator, memory: 'template', inputs }, signal, async (launched) => {
    const { startedAtMs, waiting } = launched;
    const monitor = await launcher.monitorOf(launched);
    const agent = await GuestAgent.connect(clock, join(launched.directory, RUN_FILES.agent), waiting);
    try {
      const addresses = await addressesOf(launched, monitor, image.manifest.http.port);
      await untilReady(clock, probeHttp, addresses[0], image.manifest.http.readyPath, waiting);
      const machine = () => qemuMachine(deps, launched, addresses);
      const bootMs = clock.monotonicMs() - startedAtMs;
      const asItIs = (isPossible: boolean): TemplateBoot => {
        log.info({ image: image.digest, isPossible }, 'no template made');
        return { isTaken: false, isPossible, machine: { ...machine(), startedAtMs, origin: 'boot' } };
      };
      if (!(await saysHello(clock, agent, bootMs, waiting))) return asItIs(false);
      await pause(clock, agent, waiting);
      const isUntouched = await keepState(deps, monitor, launched, spec, template);
      if (isUntouched) {
        log.info({ image: image.digest, bootMs }, 'template taken');
        return { isTaken: true, startedAtMs, ended: machine().stop() };
      }
      await goOn(deps, monitor, agent, spec.name, waiting);
      return asItIs(isUntouched === undefined);
    } finally {
      agent.close();
      monitor.close();
    }
  });
}

async function saysHello(
  clock: Clock,
  agent: GuestAgent,
  bootMs: number,
  waiting: AbortSignal,
): Promise<boolean> {
  const silent = deadline(clock, Math.max(LEAST_HELLO_MS, HELLO_PER_BOOT * bootMs));
  try {
    await agent.hear('orilla-agent 1', AbortSignal.any([waiting, silent]));
    return true;
  } catch (error) {
    waiting.throwIfAborted();
    if (silent.aborted) return false;
    throw error;
  }
}

/** Brings the guest to rest. The agent's port stays open: it must be so in the template. */
async function pause(clock: Clock, agent: GuestAgent, waiting: AbortSignal): Promise<void> {
  agent.tell('pause\n');
  await agent.hear('paused', AbortSignal.any([waiting, deadline(clock, AGENT_TIMEOUT_MS)]));
}

/** Lets a guest that was brought to rest go on, as itself; what of it may be saved later is all of it again. */
async function goOn(
  { clock, random }: TemplateMakerDeps,
  monitor: QmpClient,
  agent: GuestAgent,
  name: string,
  waiting: AbortSignal,
): Promise<void> {
  const patience = AbortSignal.any([waiting, deadline(clock, AGENT_TIMEOUT_MS)]);
  await callOffSaving(clock, monitor, patience);
  await monitor.execute('migrate-set-capabilities', sharedMemoryStays(false));
  agent.tell(resumeMessage(name, clock.nowMs(), random));
  await agent.hear('resumed', patience);
}

/**
 * Whether the state is in its file and the guest has not used its disks: it would miss on a clone's, which are empty, what
 * it wrote. `undefined` when the state could not be kept.
 */
async function keepState(
  { clock, log }: TemplateMakerDeps,
  monitor: QmpClient,
  launched: Launched,
  { image, disks = [] }: IdentifiedSpec,
  template: Template,
): Promise<boolean | undefined> {
  const { waiting } = launched;
  try {
    const kernelPart = createReadStream(image.kernelPath, { end: KERNEL_PART_BYTES - 1 });
    await pipeline(kernelPart, createWriteStream(template.kernel, { mode: 0o644 }));
    await writeFile(template.console, await readTail(join(launched.directory, RUN_FILES.console)));
    await monitor.execute('migrate-set-capabilities', sharedMemoryStays(true));
    const write = (state: AsyncIterable<Buffer>) =>
      pipeline(state, createWriteStream(template.state, { mode: 0o644 }), { signal: waiting });
    await sendState(clock, monitor, launched, STATE_LIMIT_BYTES, write, waiting);
    return await areUntouched(disks);
  } catch (error) {
    waiting.throwIfAborted();
    log.warn({ image: image.digest, reason: messageOf(error) }, 'the state of a machine was not kept');
    return undefined;
  }
}
