import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../src/base/index.ts';
import { type Status, statusSchema } from '../../src/edge/schema.ts';
import { endProcess, processesIn } from '../../src/platform/process/index.ts';
import type { Vm } from '../../src/pool/schema.ts';
import { type Answer, ask, type Question } from './ask.ts';
import { type Ended, OrillaCommand } from './orilla-command.ts';

/** A guest's boot under emulation takes 2 s; this is the limit for a machine with other things to do. */
export const PATIENCE_MS = 90_000;
const LOOK_INTERVAL_MS = 20;

export interface OriginOptions {
  readonly port: number;
  readonly hosts?: readonly string[];
  /** What the configuration says of its offload, beside the token's file. */
  readonly offload?: object;
}

export interface OrillaOptions {
  /** By name; the host of `photos` is `photos.example` unless it says otherwise. */
  readonly origins: Readonly<Record<string, OriginOptions>>;
  /** What the configuration says of the gateway, beside its ports and origins. */
  readonly gateway?: object;
  /** Where its ports are; the loopback's when absent. */
  readonly listen?: string;
  /** What the configuration says of the pool, beside what lets origins' images run under TCG. */
  readonly pool?: object;
  /** Where everything of this Orilla is; a folder of its own that goes with it when absent. */
  readonly folder?: string;
  readonly env?: NodeJS.ProcessEnv;
}

export const EDGE_DOMAIN = 'edge.example';

/** A configuration for these tests: JSON is YAML. Ports are 0, so that any number of them run beside each other. */
export function configuration({
  origins,
  gateway,
  pool,
  listen = '127.0.0.1:0',
}: Pick<OrillaOptions, 'origins' | 'gateway' | 'pool' | 'listen'>): string {
  return JSON.stringify({
    gateway: {
      listen,
      edgeDomain: EDGE_DOMAIN,
      ...gateway,
      api: { listen },
      origins: Object.fromEntries(
        Object.entries(origins).map(([name, { port, hosts = [`${name}.example`], offload }]) => [
          name,
          {
            hosts,
            upstream: `http://127.0.0.1:${port}`,
            offload: { tokenFile: `${name}.token`, ...offload },
          },
        ]),
      ),
    },
    pool: { accelerator: 'tcg', allowUntrustedOnTcg: true, warmLimit: '0 B', ...pool },
    control: { listen },
  });
}

/** The processes that run VMs of a data folder. */
export const machinesIn = (folder: string) =>
  processesIn(folder, ([program = '']) => /(?:^|\/)qemu-system-/.test(program));

/** The processes that carry the traffic of a data folder. */
export const workersIn = (folder: string) =>
  processesIn(folder, (argv) => argv.some((argument) => /data-plane\/worker\.[jt]s$/.test(argument)));

/** `orilla up` in a process of its own, as a user would run it. */
export class RunningOrilla implements AsyncDisposable {
  readonly #command: OrillaCommand;
  readonly #ownFolder: string | undefined;
  readonly data: string;
  readonly configFile: string;
  gatewayPort = 0;
  apiPort = 0;
  controlPort = 0;
  #hasEnded = false;

  private constructor(options: OrillaOptions) {
    this.#ownFolder = options.folder === undefined ? mkdtempSync(join(tmpdir(), 'o-')) : undefined;
    const folder = options.folder ?? this.#ownFolder ?? '';
    this.data = join(folder, 'data');
    this.configFile = join(folder, 'orilla.yaml');
    writeFileSync(this.configFile, configuration(options));
    this.#command = new OrillaCommand(['up', '--config', this.configFile, '--data', this.data], {
      ...(options.env && { env: options.env }),
    });
    void this.ended.then(() => {
      this.#hasEnded = true;
    });
  }

  /** Starts it; resolves once it says that it is up. */
  static async start(options: OrillaOptions): Promise<RunningOrilla> {
    const running = RunningOrilla.spawn(options);
    try {
      return await running.untilUp();
    } catch (error) {
      await running[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Starts it and waits for nothing. */
  static spawn(options: OrillaOptions): RunningOrilla {
    return new RunningOrilla(options);
  }

  get pid(): number {
    return this.#command.child.pid ?? 0;
  }

  get ended(): Promise<Ended> {
    return this.#command.ended;
  }

  /** What it logged, a record a line. */
  get log(): Record<string, unknown>[] {
    const lines = this.#command.stdout.split('\n').slice(0, -1);
    return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  async untilUp(): Promise<this> {
    const up = await this.untilLogged('orilla is up');
    this.gatewayPort = Number(up['gatewayPort']);
    this.apiPort = Number(up['apiPort']);
    this.controlPort = Number(up['controlPort']);
    return this;
  }

  /** The first record with this message; fails when the process ends without one. */
  async untilLogged(message: string): Promise<Record<string, unknown>> {
    return this.until(`the log says "${message}"`, () => this.log.find(({ msg }) => msg === message));
  }

  /** Looks again and again until there is something; fails when the process ends before. */
  async until<Found>(
    what: string,
    look: () => Promise<Found | undefined> | Found | undefined,
  ): Promise<Found> {
    const deadlineMs = systemClock.monotonicMs() + PATIENCE_MS;
    for (;;) {
      const isLast = this.#hasEnded || systemClock.monotonicMs() > deadlineMs;
      const found = await look();
      if (found !== undefined) return found;
      if (isLast) {
        const { stdout, stderr } = this.#command;
        throw new Error(`waited in vain until ${what}\n${stdout.slice(-4000)}${stderr.slice(-2000)}`);
      }
      await systemClock.sleep(LOOK_INTERVAL_MS);
    }
  }

  /** Asks the gateway as a visitor of `host` does. */
  visit(host: string, path = '/', question: Question = {}): Promise<Answer> {
    return ask(this.gatewayPort, `${host}:${this.gatewayPort}`, path, question);
  }

  async status(): Promise<Status> {
    const { body } = await ask(this.controlPort, '127.0.0.1', '/api/v1/status');
    return statusSchema.parse(JSON.parse(body));
  }

  /** Waits until the status shows the VM, and as wanted. */
  untilVm(name: string, what: string, isWanted: (vm: Vm) => boolean): Promise<Vm> {
    return this.until(`the VM ${name} is ${what}`, async () =>
      (await this.status()).vms.find((vm) => vm.name === name && isWanted(vm)),
    );
  }

  untilPhase(name: string, ...phases: Vm['phase'][]): Promise<Vm> {
    return this.untilVm(name, phases.join(' or '), ({ phase }) => phases.includes(phase));
  }

  signal(name: NodeJS.Signals): void {
    this.#command.child.kill(name);
  }

  /** Ends it as an operator does. */
  async stop(): Promise<Ended> {
    this.signal('SIGTERM');
    return this.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#hasEnded) {
      this.signal('SIGTERM');
      const killing = setTimeout(() => this.signal('SIGKILL'), 20_000);
      await this.ended;
      clearTimeout(killing);
    }
    // Machines and workers outlive a process that was killed.
    const left = processesIn(this.data, () => true);
    await Promise.all(left.map((each) => endProcess(systemClock, each, 0)));
    if (this.#ownFolder !== undefined) rmSync(this.#ownFolder, { recursive: true, force: true });
  }
}
