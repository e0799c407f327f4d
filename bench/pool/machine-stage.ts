import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Clock, type Closable, systemRandom } from '../../src/base/index.ts';
import { processesIn } from '../../src/platform/process/index.ts';
import { MasterKey } from '../../src/platform/secrets/index.ts';
import { silentLog } from '../../src/platform/telemetry/index.ts';
import {
  directorySource,
  ImageStore,
  type Machine,
  type MachineOrigin,
  QemuHypervisor,
  type StartedMachine,
  type StoredImage,
} from '../../src/pool/index.ts';
import { probeHttp, untilReady } from '../../src/pool/readiness.ts';

const MIB = 2 ** 20;
const MEMORY_BYTES = 192 * MIB;
const PATIENCE_MS = 120_000;
/** Longer than a tick of processor time. */
const LOOK_MS = 200;
/** Between two starts: what a start leaves to be done aside is done by then. */
const PAUSE_MS = 150;

/** One start, in ms from when it was asked for. */
export interface Start {
  readonly origin: MachineOrigin;
  /** Its process was started, or it was told who it is. */
  readonly spawnedMs: number;
  /** The guest goes on; of a boot, QEMU's monitor answers. */
  readonly startedMs: number;
  readonly firstByteMs: number;
}

/** Machines of one image and configuration, asked of the hypervisor as the pool does. */
export class MachineStage implements Closable {
  readonly #clock: Clock;
  readonly #folder: string;
  readonly #image: StoredImage;
  readonly #signal: AbortSignal;
  readonly #hypervisors: QemuHypervisor[] = [];
  #names = 0;

  private constructor(clock: Clock, folder: string, image: StoredImage, signal: AbortSignal) {
    this.#clock = clock;
    this.#folder = folder;
    this.#image = image;
    this.#signal = signal;
  }

  static async open(
    clock: Clock,
    folder: string,
    imageFolder: string,
    signal: AbortSignal,
  ): Promise<MachineStage> {
    const store = await ImageStore.open({ clock, random: systemRandom }, join(folder, 'images'));
    const image = await store.import(directorySource(imageFolder), { signal });
    return new MachineStage(clock, folder, image, signal);
  }

  /** Without templates. */
  async boot(count: number): Promise<Start[]> {
    return this.#measure(this.#hypervisor(), count);
  }

  /** The first start of a kind, each time of another one: it takes the template in passing. */
  async startFirst(count: number): Promise<Start[]> {
    const starts: Start[] = [];
    for (let done = 0; done < count; done += 1) {
      starts.push(...(await this.#measure(this.#hypervisor(`first${this.#hypervisors.length}`), 1)));
    }
    return starts;
  }

  async clone(count: number): Promise<Start[]> {
    return this.#measure(await this.#cloning(), count);
  }

  /** Each waits before it is taken, and one at a time is made. */
  async takeWarm(count: number): Promise<Start[]> {
    const cost = 2 ** 30;
    const hypervisor = this.#hypervisor('templates', () => cost);
    // The first says that more may come.
    await this.#measure(hypervisor, 1);
    const starts: Start[] = [];
    for (let done = 0; done < count; done += 1) {
      await this.#untilWaiting();
      starts.push(...(await this.#measure(hypervisor, 1)));
    }
    await hypervisor.close();
    return starts.filter(({ origin }) => origin === 'warm');
  }

  /** What each of so many clones takes of the host's memory, all of them running and having answered, in MiB. */
  async memoryShares(count: number): Promise<number[]> {
    const hypervisor = await this.#cloning();
    const machines: Machine[] = [];
    try {
      for (let done = 0; done < count; done += 1) machines.push((await this.#start(hypervisor)).machine);
      return machines.map(({ pid }) => proportionalShareKib(pid) / 1024);
    } finally {
      await Promise.all(machines.map((machine) => machine.stop()));
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#hypervisors.splice(0).map((hypervisor) => hypervisor.close()));
  }

  async #measure(hypervisor: QemuHypervisor, count: number): Promise<Start[]> {
    const starts: Start[] = [];
    for (let done = 0; done < count; done += 1) {
      const { machine, start } = await this.#start(hypervisor);
      starts.push(start);
      await machine.stop();
      await this.#clock.sleep(PAUSE_MS, this.#signal);
    }
    return starts;
  }

  async #start(hypervisor: QemuHypervisor): Promise<{ machine: StartedMachine; start: Start }> {
    const clock = this.#clock;
    const signal = AbortSignal.any([this.#signal, AbortSignal.timeout(PATIENCE_MS)]);
    const configuration = { cpus: 1, memoryBytes: MEMORY_BYTES, diskBytes: 0 };
    this.#names += 1;
    const spec = { name: `m${this.#names}`, image: this.#image, configuration };
    const askedMs = clock.monotonicMs();
    const machine = await hypervisor.start(spec, signal, async () => undefined);
    const startedMs = clock.monotonicMs() - askedMs;
    const { readyPath } = this.#image.manifest.http;
    await untilReady(clock, probeHttp, machine.addresses[0], readyPath, signal);
    const { origin, startedAtMs } = machine;
    const firstByteMs = clock.monotonicMs() - askedMs;
    return { machine, start: { origin, spawnedMs: startedAtMs - askedMs, startedMs, firstByteMs } };
  }

  /** One whose template is there. */
  async #cloning(): Promise<QemuHypervisor> {
    const hypervisor = this.#hypervisor('templates');
    const configuration = { cpus: 1, memoryBytes: MEMORY_BYTES, diskBytes: 0 };
    await hypervisor.prepare({ name: 'prepared', image: this.#image, configuration }, this.#signal);
    // What is written through to the disk is not to be measured.
    await hypervisor.close();
    return hypervisor;
  }

  #hypervisor(templates?: string, warmLimitBytes?: () => number): QemuHypervisor {
    const deps = {
      clock: this.#clock,
      random: systemRandom,
      log: silentLog,
      masterKey: new MasterKey(Buffer.alloc(32, 7)),
      chooseAccelerator: async () => 'tcg' as const,
      ...(warmLimitBytes && { warmLimitBytes }),
    };
    const folder = templates === undefined ? undefined : join(this.#folder, templates);
    const hypervisor = new QemuHypervisor(deps, join(this.#folder, 'run'), folder);
    this.#hypervisors.push(hypervisor);
    return hypervisor;
  }

  /** Until a machine waits and none is being made: no QEMU uses processor time any more. */
  async #untilWaiting(): Promise<void> {
    const machines = () => processesIn(join(this.#folder, 'run'), () => true).map(({ pid }) => pid);
    const usage = () =>
      machines()
        .map((pid) => `${pid} ${processorTicks(pid)}`)
        .join();
    let before = '';
    for (;;) {
      await this.#clock.sleep(LOOK_MS, this.#signal);
      const now = usage();
      if (now !== '' && now === before) return;
      before = now;
    }
  }
}

const proportionalShareKib = (pid: number): number =>
  Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1]);

/** In user mode and in the kernel (proc_pid_stat(5)). */
const processorTicks = (pid: number): string =>
  readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ').slice(11, 13).join('+') ?? '';
