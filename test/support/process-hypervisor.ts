import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { systemClock, systemRandom } from '../../src/base/index.ts';
import { copyDisks } from '../../src/pool/disks/disk-copy.ts';
import { poolError } from '../../src/pool/errors.ts';
import type { GuestCommands } from '../../src/pool/guest-commands/guest-commands.ts';
import { newMachineId } from '../../src/pool/hypervisor/machine-id.ts';
import type {
  Claim,
  Hypervisor,
  LeftMachines,
  Machine,
  MachineSpec,
  StartedMachine,
} from '../../src/pool/index.ts';

/**
 * The guest: an HTTP server that tells its name, keeps what it is told in its memory (`/cgi-bin/memory`), holds an answer
 * back, or breaks off, as the path asks. It powers off when it is asked to.
 */
const GUEST = `
const { createServer } = require('node:http');
const [, name, remembered] = process.argv;
let memory = remembered ?? '';
process.on('SIGTERM', () => process.exit(0));
const server = createServer(async (request, response) => {
  const path = request.url.split('?')[0];
  if (path === '/cgi-bin/memory') {
    if (request.method === 'POST') memory = (await request.toArray()).join('');
    response.end(memory);
    return;
  }
  request.resume();
  if (path === '/silent') return;
  if (path === '/half') { response.writeHead(200, { 'content-length': 200000 }); response.write('x'.repeat(100000)); return; }
  if (path === '/half-small') { response.writeHead(200, { 'content-length': 100 }); response.write('x'); return; }
  response.end('vm ' + name + ' ' + path);
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
`;

/** Machines as plain processes: the port's second implementation, for tests that need many starts and no guest. */
export class ProcessHypervisor implements Hypervisor {
  readonly #said = new Map<string, string>();
  readonly #running = new Map<string, { readonly machine: Machine; readonly spec: MachineSpec }>();
  /** Starts that are to fail, one after the other. */
  failures: Error[] = [];
  starts = 0;
  /** The way to somebody who does for a machine what an agent in its guest would. */
  commandsOf: ((id: string) => GuestCommands) | undefined;

  async start(spec: MachineSpec, signal: AbortSignal, claim: Claim): Promise<StartedMachine> {
    this.starts += 1;
    signal.throwIfAborted();
    const failure = this.failures.shift();
    if (failure) throw failure;
    this.#checkDisks(spec);
    const memory = spec.saved === undefined ? undefined : await memoryIn(spec.saved, spec);
    const id = newMachineId(spec.name, systemRandom);
    await claim(id);
    signal.throwIfAborted();
    const startedAtMs = systemClock.monotonicMs();
    const args = ['-e', GUEST, spec.name, ...(memory === undefined ? [] : [memory])];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const exited = new Promise<string>((resolve) => {
      child.once('exit', (code, killer) => {
        this.#running.delete(id);
        resolve(`the process ended with ${killer ?? code}`);
      });
    });
    const port = await new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        this.#said.set(id, text);
        resolve(Number(text));
      });
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    }).catch((error: unknown) => {
      child.kill('SIGKILL');
      throw error;
    });
    const stop = async () => {
      child.kill('SIGKILL');
      await exited;
    };
    const machine: Machine = {
      id,
      pid: child.pid ?? 0,
      addresses: [{ host: '127.0.0.1', port }],
      accelerator: 'tcg',
      commands: this.commandsOf?.(id),
      exited,
      stop,
      suspend: async (folder, calledOff) => {
        await saveMemory(spec, port, folder, [], calledOff);
        await stop();
      },
      snapshot: (folder, calledOff) => saveMemory(spec, port, folder, spec.disks ?? [], calledOff),
      shutDown: async (limitMs) => {
        await powerDown(child, limitMs);
        await stop();
      },
    };
    this.#running.set(id, { machine, spec });
    return { ...machine, startedAtMs, origin: spec.saved === undefined ? 'boot' : 'saved' };
  }

  /** Whoever used it before is as good as dead to it. */
  async takeOver(): Promise<LeftMachines> {
    return { machines: [...this.#running.values()].map(({ machine }) => machine), endedCount: 0 };
  }

  costOf({ memoryBytes }: { readonly memoryBytes: number }): number {
    return memoryBytes;
  }

  async close(): Promise<void> {}

  async consoleTail(id: string): Promise<string> {
    return this.#said.get(id) ?? '';
  }

  #checkDisks({ disks = [] }: MachineSpec): void {
    for (const { spec } of this.#running.values()) {
      const taken = spec.disks?.find(({ path }) => disks.some((disk) => disk.path === path));
      if (taken) throw poolError('disk_in_use', `the machine of ${spec.name} has the disk ${taken.path}`);
    }
  }
}

async function saveMemory(
  { configuration }: MachineSpec,
  port: number,
  folder: string,
  disks: NonNullable<MachineSpec['disks']>,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted();
  const draft = join(dirname(folder), `.${basename(folder)}`);
  await rm(draft, { recursive: true, force: true });
  await mkdir(draft, { recursive: true });
  const memory = await fetch(`http://127.0.0.1:${port}/cgi-bin/memory`, { signal })
    .then((answer) => answer.text())
    .catch((error: unknown) => {
      throw poolError('machine_failed', 'the process ended while it was saved', error);
    });
  await writeFile(join(draft, 'state'), JSON.stringify({ memory, configuration }));
  await copyDisks(disks, join(draft, 'disks'), signal);
  await rm(folder, { recursive: true, force: true });
  await rename(draft, folder);
}

async function memoryIn(folder: string, { configuration }: MachineSpec): Promise<string> {
  try {
    const saved = JSON.parse(await readFile(join(folder, 'state'), 'utf8')) as MachineSpec & {
      memory: string;
    };
    if (JSON.stringify(saved.configuration) === JSON.stringify(configuration)) return saved.memory;
  } catch (error) {
    throw poolError('saved_state_unusable', `the machine cannot go on from ${folder}`, error);
  }
  throw poolError('saved_state_unusable', `${folder} is of another configuration`);
}

async function powerDown(child: ChildProcess, limitMs: number): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGTERM');
  const patience = AbortSignal.timeout(limitMs);
  await once(child, 'exit', { signal: patience }).catch((error: unknown) => {
    if (!patience.aborted) throw error;
  });
}
