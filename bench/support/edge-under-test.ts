import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { Clock, Closable } from '../../src/base/index.ts';
import { Program } from '../../src/demo/program.ts';
import { type DataFolder, dataFolder } from '../../src/edge/index.ts';
import { endProcess, entryPath, processesIn, runCommand } from '../../src/platform/process/index.ts';
import { type Vm, vmSchema } from '../../src/pool/schema.ts';

const POLL_MS = 25;
const READY_TIMEOUT_MS = 180_000;

const upSchema = z.object({ gatewayPort: z.int(), apiPort: z.int(), controlPort: z.int() });
const vmsSchema = z.array(vmSchema);

export interface EdgeSite {
  readonly name: string;
  readonly host: string;
  readonly upstreamPort: number;
  /** Whether its origin may have VMs started. */
  readonly mayOffload: boolean;
  /** How many; as the configuration has it when absent. */
  readonly maxVms?: number;
}

/** Runs the command `orilla` to its end. */
export const orilla = (args: readonly string[], signal: AbortSignal) =>
  runCommand(process.execPath, [entryPath('cli/main'), ...args], { signal, timeoutMs: 600_000 });

/** `orilla up` in a process of its own, in a folder of its own, on ports that the kernel chose. */
export class EdgeUnderTest implements Closable {
  readonly #clock: Clock;
  readonly #program: Program;
  readonly #data: DataFolder;
  readonly #ports: z.output<typeof upSchema>;

  private constructor(clock: Clock, program: Program, data: DataFolder, ports: z.output<typeof upSchema>) {
    this.#clock = clock;
    this.#program = program;
    this.#data = data;
    this.#ports = ports;
  }

  /** @param pool what the configuration says of the pool. */
  static async start(
    clock: Clock,
    folder: string,
    sites: readonly EdgeSite[],
    pool: object = SMALL_POOL,
  ): Promise<EdgeUnderTest> {
    await mkdir(folder, { recursive: true });
    const [configFile, logFile] = [join(folder, 'orilla.yaml'), join(folder, 'orilla.log')];
    const data = dataFolder(join(folder, 'data'));
    await writeFile(configFile, configuration(sites, pool));
    const args = [entryPath('cli/main'), 'up', '--config', configFile, '--data', data.folder];
    const program = await Program.start(clock, 'orilla up', logFile, args);
    try {
      let ports: z.output<typeof upSchema> | undefined;
      await program.until(async () => {
        ports = portsIn(await readFile(logFile, 'utf8'));
        return ports !== undefined;
      });
      if (!ports) throw new Error('orilla up does not say where it listens');
      return new EdgeUnderTest(clock, program, data, ports);
    } catch (error) {
      await program.close();
      throw error;
    }
  }

  get gatewayPort(): number {
    return this.#ports.gatewayPort;
  }

  get apiPort(): number {
    return this.#ports.apiPort;
  }

  get dataFolder(): string {
    return this.#data.folder;
  }

  /** Resolves with a sentence when it ends by itself. */
  get ended(): Promise<string> {
    return this.#program.ended;
  }

  /** The token that the operator hands to a site's provider. */
  async token(site: string): Promise<string> {
    return (await readFile(join(this.#data.folder, '..', `${site}.token`), 'utf8')).trim();
  }

  /** What `orilla vm ls --json` prints, from the same API; a process for each look would take part in the measurement. */
  async vms(): Promise<readonly Vm[]> {
    const answer = await fetch(`http://127.0.0.1:${this.#ports.controlPort}/api/v1/vms`);
    return vmsSchema.parse(await answer.json());
  }

  async vm(name: string): Promise<Vm | undefined> {
    return (await this.vms()).find((vm) => vm.name === name);
  }

  /**
   * Resolves with the VM once it is ready in another process than `notPid`, as soon as a look every 25 ms shows it.
   *
   * @param onGivenUp called when the pool has given it up; who wants it has to ask for it again.
   */
  async untilReady(
    name: string,
    signal: AbortSignal,
    options: { readonly notPid?: number; readonly onGivenUp?: () => Promise<unknown> } = {},
  ): Promise<Vm & { readonly pid: number }> {
    const deadlineMs = this.#clock.monotonicMs() + READY_TIMEOUT_MS;
    for (;;) {
      signal.throwIfAborted();
      const vm = await this.vm(name);
      if (vm?.phase === 'ready' && vm.pid !== undefined && vm.pid !== options.notPid) {
        return { ...vm, pid: vm.pid };
      }
      if (vm?.phase === 'failed') await options.onGivenUp?.();
      if (this.#clock.monotonicMs() > deadlineMs) {
        throw new Error(`the VM is not ready: ${vm?.reason ?? vm?.phase ?? 'nobody asked for it'}`);
      }
      await this.#clock.sleep(POLL_MS, signal);
    }
  }

  /** Ends the control process as a crash would. Workers and machines go on. */
  kill(): Promise<void> {
    return this.#program.kill();
  }

  async close(): Promise<void> {
    await this.#program.close();
    // Should it have been killed, its machines are still there; they work below its folder.
    const strays = processesIn(this.#data.run, ([program = '']) => program.includes('qemu-system'));
    await Promise.all(strays.map((stray) => endProcess(this.#clock, stray)));
  }
}

function portsIn(log: string): z.output<typeof upSchema> | undefined {
  const line = log.split('\n').find((text) => text.includes('"orilla is up"'));
  return line === undefined ? undefined : upSchema.parse(JSON.parse(line));
}

const SMALL_POOL = {
  allowUntrustedOnTcg: true,
  configurations: { small: { cpus: 1, memory: '192 MiB' } },
};

const configuration = (sites: readonly EdgeSite[], pool: object): string => `\
gateway:
  listen: 127.0.0.1:0
  edgeDomain: edge.localhost
  api: { listen: "127.0.0.1:0" }
  origins:
${sites.map(originConfiguration).join('')}\
pool: ${JSON.stringify(pool)}
control: { listen: "127.0.0.1:0" }
`;

const originConfiguration = ({ name, host, upstreamPort, mayOffload, maxVms }: EdgeSite): string => `\
    ${name}:
      hosts: [${host}]
      upstream: http://127.0.0.1:${upstreamPort}
${mayOffload ? `      offload: ${JSON.stringify({ tokenFile: `${name}.token`, maxVms })}\n` : ''}`;
