import { createReadStream, createWriteStream } from 'node:fs';
import { open, rm, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { type Clock, deadline } from '../../../base/index.ts';
import { areUntouched, type MachineDisk } from '../../disks/machine-disk.ts';
import { poolError } from '../../errors.ts';
import { probeHttp, untilReady } from '../../readiness.ts';
import type { Accelerator, MachineSpec } from '../hypervisor.ts';
import type { IdentifiedSpec } from './command-line.ts';
import { GuestAgent } from './guest-agent.ts';
import { sendState } from './migration.ts';
import { addressesOf, type Launched, type QemuLauncher } from './qemu-launcher.ts';
import { RUN_FILES } from './run-files.ts';
import type { Template, TemplateStore } from './template-store.ts';

/** As long as a guest may take to its first answer, and then the writing of its memory. */
const LIMIT_MS = 120_000;
/** A guest that answers and whose agent says nothing in this time has none. */
const AGENT_TIMEOUT_MS = 10_000;
/** Holds the header of a Linux kernel, whose setup part has at most 65 sectors (Linux, Documentation/arch/x86/boot). */
const KERNEL_PART_BYTES = 64 * 1024;
/** A microvm's has some 64 KiB. */
const STATE_LIMIT_BYTES = 64 * 2 ** 20;
/** Only state is sent; the memory is in its file already. */
export const SHARED_MEMORY_STAYS = {
  capabilities: [{ capability: 'x-ignore-shared', state: true }],
};

export interface TemplateMakerDeps {
  readonly clock: Clock;
  readonly launcher: QemuLauncher;
  readonly store: TemplateStore;
}

/**
 * Boots a machine that serves nobody, and when its guest answers keeps its memory and its state. No request but the probes'
 * ever reached it, so there is nothing of anybody in it.
 *
 * @returns false when the guest has no agent, or uses its disk, and no template can be made of it.
 * @throws `machine_failed`, `disk_full`
 */
export async function makeTemplate(
  { clock, launcher, store }: TemplateMakerDeps,
  key: string,
  { image, configuration, disks: wanted = [] }: MachineSpec,
  accelerator: Accelerator,
  signal: AbortSignal,
): Promise<boolean> {
  const memoryBytes = Math.ceil(configuration.memoryBytes / 2 ** 20) * 2 ** 20;
  const template = await store.begin(key, memoryBytes);
  try {
    await checkRoom(template.directory, 2 * memoryBytes);
    const disks = await emptyDisks(template, wanted);
    const id = `template-${key.slice(0, 8)}`;
    const spec: IdentifiedSpec = { id, name: 'template', image, configuration, disks };
    const inputs = [image.kernelPath, image.initrdPath, template.memory];
    const request = { spec, accelerator, memory: 'template', inputs, limitMs: LIMIT_MS } as const;
    const isMade = await launcher.launch(request, signal, async (launched) => {
      const machine = launcher.machineOf(launched, [{ host: '', port: 0 }]);
      const monitor = await launcher.monitorOf(launched);
      try {
        const [address] = await addressesOf(launched, monitor, image.manifest.http.port);
        await untilReady(clock, probeHttp, address, image.manifest.http.readyPath, launched.waiting);
        if (!(await hasPaused(clock, launched))) return false;
        await monitor.execute('migrate-set-capabilities', SHARED_MEMORY_STAYS);
        const { waiting } = launched;
        const write = (state: AsyncIterable<Buffer>) =>
          pipeline(state, createWriteStream(template.state, { mode: 0o644 }), { signal: waiting });
        await sendState(clock, monitor, launched, STATE_LIMIT_BYTES, write, waiting);
        // A guest that wrote to its disk would miss that on a clone's, which is empty.
        return await areUntouched(disks);
      } finally {
        monitor.close();
        await machine.stop();
      }
    });
    if (!isMade) return false;
    for (const { path } of disks) await rm(path);
    const kernelPart = createReadStream(image.kernelPath, { end: KERNEL_PART_BYTES - 1 });
    await pipeline(kernelPart, createWriteStream(template.kernel, { mode: 0o644 }));
    await store.finish(key, template, image.kernelPath);
    return true;
  } finally {
    await store.abandon(template);
  }
}

async function checkRoom(directory: string, wantedBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(directory);
  if (bavail * bsize >= wantedBytes) return;
  throw poolError('disk_full', `no room for a template in ${dirname(directory)}`);
}

/** Brings the guest to rest; false when nothing in it listens. The agent's port stays open: it must be so in the template. */
async function hasPaused(clock: Clock, { directory, waiting }: Launched): Promise<boolean> {
  const silent = deadline(clock, AGENT_TIMEOUT_MS, 'the guest has no agent');
  const patience = AbortSignal.any([waiting, silent]);
  try {
    const agent = await GuestAgent.connect(clock, join(directory, RUN_FILES.agent), patience);
    await agent.hear('orilla-agent 1', patience);
    agent.tell('pause\n');
    await agent.hear('paused', patience);
    return true;
  } catch (error) {
    waiting.throwIfAborted();
    if (silent.aborted) return false;
    throw error;
  }
}

/** What a clone's guest sees of its disks, which are as empty as these. */
async function emptyDisks(
  { directory }: Template,
  disks: readonly MachineDisk[],
): Promise<readonly MachineDisk[]> {
  const made = disks.map((disk, index) => ({ ...disk, path: join(directory, `disk${index}`) }));
  for (const { path, sizeBytes } of made) {
    await using handle = await open(path, 'wx', 0o600);
    await handle.truncate(sizeBytes);
  }
  return made;
}
