import { once } from 'node:events';
import { createReadStream, createWriteStream } from 'node:fs';
import { chown, stat, statfs } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { type Clock, deadline } from '../../../base/index.ts';
import { poolError } from '../../errors.ts';
import { probeHttp, untilReady } from '../../readiness.ts';
import type { Accelerator, MachineSpec } from '../hypervisor.ts';
import { GuestAgent } from './guest-agent.ts';
import { addressesOf, type Launched, type QemuLauncher } from './qemu-launcher.ts';
import type { QmpClient } from './qmp.ts';
import { RUN_FILES } from './run-files.ts';
import type { TemplateStore } from './template-store.ts';

/** As long as a guest may take to its first answer, and then the writing of its memory. */
const LIMIT_MS = 120_000;
/** A guest that answers and whose agent says nothing in this time has none. */
const AGENT_TIMEOUT_MS = 10_000;
const MIGRATION_LOOK_INTERVAL_MS = 5;
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
  { image, configuration }: MachineSpec,
  accelerator: Accelerator,
  signal: AbortSignal,
): Promise<boolean> {
  const spec = { id: `template-${key.slice(0, 8)}`, name: 'template', image, configuration };
  const memoryBytes = Math.ceil(configuration.memoryBytes / 2 ** 20) * 2 ** 20;
  const template = await store.begin(key, memoryBytes);
  try {
    await checkRoom(template.directory, 2 * memoryBytes);
    const inputs = [image.kernelPath, image.initrdPath, template.memory];
    const request = { spec, accelerator, memory: 'template', inputs, limitMs: LIMIT_MS } as const;
    const isMade = await launcher.launch(request, signal, async (launched) => {
      const machine = launcher.machineOf(launched, accelerator, [{ host: '', port: 0 }]);
      const monitor = await launcher.monitorOf(launched);
      try {
        const [address] = await addressesOf(launched, monitor, image.manifest.http.port);
        await untilReady(clock, probeHttp, address, image.manifest.http.readyPath, launched.waiting);
        if (!(await hasPaused(clock, launched))) return false;
        await saveState(clock, monitor, launched, template.state);
        return await isDiskUntouched(launched, configuration.diskBytes);
      } finally {
        monitor.close();
        await machine.stop();
      }
    });
    if (!isMade) return false;
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

/** QEMU sends the state to a socket of ours: it may start no program to write it, and this QEMU takes no file's name. */
async function saveState(
  clock: Clock,
  monitor: QmpClient,
  { directory, link, waiting }: Launched,
  path: string,
): Promise<void> {
  const socketPath = join(directory, RUN_FILES.state);
  const server = createServer().listen(socketPath);
  try {
    await once(server, 'listening', { signal: waiting });
    if (link) await chown(socketPath, link.userId, link.userId);
    const written = firstVisitor(server, waiting).then((socket) =>
      pipeline(socket, limited, createWriteStream(path, { mode: 0o644 }), { signal: waiting }),
    );
    await monitor.execute('migrate-set-capabilities', SHARED_MEMORY_STAYS);
    await monitor.execute('migrate', { uri: `unix:${RUN_FILES.state}` });
    await Promise.all([written, untilMigrated(clock, monitor, waiting)]);
  } finally {
    server.close();
  }
}

async function firstVisitor(server: Server, signal: AbortSignal): Promise<Socket> {
  const [socket] = (await once(server, 'connection', { signal })) as [Socket];
  return socket;
}

async function* limited(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let sizeBytes = 0;
  for await (const chunk of chunks) {
    sizeBytes += chunk.length;
    if (sizeBytes > STATE_LIMIT_BYTES) throw poolError('machine_failed', "the machine's state has no end");
    yield chunk;
  }
}

async function untilMigrated(clock: Clock, monitor: QmpClient, signal: AbortSignal): Promise<void> {
  for (;;) {
    const { status } = (await monitor.execute('query-migrate')) as { status?: string };
    if (status === 'completed') return;
    if (status === 'failed') throw poolError('machine_failed', 'QEMU: the state could not be written');
    await clock.sleep(MIGRATION_LOOK_INTERVAL_MS, signal);
  }
}

/** A guest that wrote to its disk would miss that on a clone's, which is empty. */
async function isDiskUntouched({ directory }: Launched, diskBytes: number): Promise<boolean> {
  return diskBytes === 0 || (await stat(join(directory, RUN_FILES.disk))).blocks === 0;
}
