import { spawn } from 'node:child_process';
import { systemClock } from '../../src/base/index.ts';
import type { Hypervisor, LeftMachines, Machine, MachineSpec, StartedMachine } from '../../src/pool/index.ts';

/** The guest: an HTTP server that tells its name, holds an answer back, or breaks off, as the path asks. */
const GUEST = `
const { createServer } = require('node:http');
const server = createServer((request, response) => {
  request.resume();
  const path = request.url.split('?')[0];
  if (path === '/silent') return;
  if (path === '/half') { response.writeHead(200, { 'content-length': 200000 }); response.write('x'.repeat(100000)); return; }
  if (path === '/half-small') { response.writeHead(200, { 'content-length': 100 }); response.write('x'); return; }
  response.end('vm ' + process.argv[1] + ' ' + path);
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
`;

/** Machines as plain processes: the port's second implementation, for tests that need many starts and no guest. */
export class ProcessHypervisor implements Hypervisor {
  readonly #said = new Map<string, string>();
  readonly #running = new Map<string, Machine>();
  /** Starts that are to fail, one after the other. */
  failures: Error[] = [];
  starts = 0;
  /** Where somebody listens for a machine, as an agent in its guest would. */
  commandSocketOf: ((id: string) => string) | undefined;

  async start(spec: MachineSpec, signal: AbortSignal): Promise<StartedMachine> {
    this.starts += 1;
    signal.throwIfAborted();
    const failure = this.failures.shift();
    if (failure) throw failure;
    const startedAtMs = systemClock.monotonicMs();
    const child = spawn(process.execPath, ['-e', GUEST, spec.name], { stdio: ['ignore', 'pipe', 'inherit'] });
    const exited = new Promise<string>((resolve) => {
      child.once('exit', (code, killer) => {
        this.#running.delete(spec.id);
        resolve(`the process ended with ${killer ?? code}`);
      });
    });
    const port = await new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        this.#said.set(spec.id, text);
        resolve(Number(text));
      });
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    }).catch((error: unknown) => {
      child.kill('SIGKILL');
      throw error;
    });
    const machine: Machine = {
      id: spec.id,
      pid: child.pid ?? 0,
      addresses: [{ host: '127.0.0.1', port }],
      accelerator: 'tcg',
      commandSocket: this.commandSocketOf?.(spec.id),
      exited,
      stop: async () => {
        child.kill('SIGKILL');
        await exited;
      },
    };
    this.#running.set(spec.id, machine);
    return { ...machine, startedAtMs };
  }

  /** Whoever used it before is as good as dead to it. */
  async takeOver(): Promise<LeftMachines> {
    return { machines: [...this.#running.values()], endedCount: 0 };
  }

  async consoleTail(id: string): Promise<string> {
    return this.#said.get(id) ?? '';
  }
}
