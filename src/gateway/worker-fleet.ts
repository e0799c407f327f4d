import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { type Clock, CloseStack, CodedError } from '../base/index.ts';
import { endProcess, entryPath, identifyProcess, processesIn } from '../platform/process/index.ts';
import { type Listen, listenError } from '../platform/sockets/index.ts';
import type { Log } from '../platform/telemetry/index.ts';
import { type DataPlane, EMPTY_SNAPSHOT, type RouteSnapshot } from './data-plane/data-plane.ts';
import type { RawDataPlaneOptions } from './data-plane/raw-data-plane.ts';
import { Tally } from './data-plane/tally.ts';
import type { VmUse } from './data-plane/vm-uses.ts';
import {
  type FromWorker,
  fits,
  readMessages,
  type SnapshotData,
  sendMessage,
  toSnapshotData,
  type WorkerOptions,
} from './data-plane/worker-protocol.ts';
import { gatewayError } from './errors.ts';

const ENTRY = 'gateway/data-plane/worker';
/** A new worker listens well before that, also on a busy machine. */
const START_TIMEOUT_MS = 30_000;
/** A worker that outlived a control process calls every 100 ms. */
const ADOPTION_MS = 1500;
/** Whoever waits for the workers goes on after this: one that hangs must not hold up the rest. */
const ANSWER_TIMEOUT_MS = 1000;
/** Longer than a worker takes to drain. */
const DRAIN_TIMEOUT_MS = 12_000;
const RESTART_MS = 250;
const SLOWEST_RESTART_MS = 10_000;

export interface WorkerFleetDeps {
  readonly clock: Clock;
  readonly log: Log;
  /** Called when somebody asks for a VM that sleeps; for each request. */
  readonly onWake?: (vm: string) => void;
}

export interface WorkerFleetOptions {
  readonly listen: Listen;
  readonly more: RawDataPlaneOptions;
  readonly count: number;
  /** Where the workers work and find the control process: a folder of this Orilla. */
  readonly folder: string;
  /** Of this program; a worker of another version is replaced. */
  readonly version: string;
}

/** A worker as the control process sees it. */
interface Member {
  readonly pid: number;
  readonly link: Socket;
  appliedId: number;
  /** As it told last. */
  uses: readonly (readonly [vm: string, use: VmUse])[];
}

/**
 * The data plane in processes of its own, one for each core. They listen on the same ports, serve with the routes that they were
 * given last, and outlive this process when it is killed; the next one takes them over as they are.
 */
export class WorkerFleet implements DataPlane {
  readonly #deps: WorkerFleetDeps;
  readonly #options: WorkerFleetOptions;
  readonly #server: Server;
  readonly #members = new Map<number, Member>();
  readonly #counted = new Tally();
  readonly #wanted: WorkerOptions;
  /** With the ports that the kernel chose. */
  #workerOptions: WorkerOptions;
  #port = 0;
  #snapshot: SnapshotData = toSnapshotData(EMPTY_SNAPSHOT);
  #snapshotId = 0;
  #reportId = 0;
  #isSendPlanned = false;
  #failures = 0;
  #isClosing = false;
  /** Called at every message. */
  readonly #waiting = new Set<() => void>();
  #onFailure: ((error: Error) => void) | undefined;
  /** By worker, the last report that was asked for and came. */
  readonly #reported = new Map<number, number>();

  private constructor(deps: WorkerFleetDeps, options: WorkerFleetOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#wanted = { listen: options.listen, more: { ...options.more, sharesPorts: true } };
    this.#workerOptions = this.#wanted;
    this.#server = createServer((link) => this.#meet(link));
  }

  /**
   * Takes over the workers that an earlier process left, and starts those that are missing.
   *
   * @throws `port_taken`, `cannot_listen`, `worker_failed`
   */
  static async start(deps: WorkerFleetDeps, options: WorkerFleetOptions): Promise<WorkerFleet> {
    const fleet = new WorkerFleet(deps, options);
    try {
      await fleet.#listen();
      await fleet.#adopt();
      await fleet.#fill();
      return fleet;
    } catch (error) {
      await fleet.close();
      throw error;
    }
  }

  get port(): number {
    return this.#port;
  }

  /** What the workers have counted and told. */
  get counted(): Tally {
    return this.#counted;
  }

  /** How the VM was used, as the workers told last; `undefined` when none of them knows of it. */
  useOf(vm: string): VmUse | undefined {
    const uses = [...this.#members.values()].flatMap((member) =>
      member.uses.filter(([name]) => name === vm).map(([, use]) => use),
    );
    if (uses.length === 0) return undefined;
    return {
      active: uses.reduce((sum, { active }) => sum + active, 0),
      idleMs: Math.min(...uses.map(({ idleMs }) => idleMs)),
    };
  }

  apply(snapshot: RouteSnapshot): void {
    this.#snapshot = toSnapshotData(snapshot);
    this.#snapshotId += 1;
    if (this.#isSendPlanned) return;
    this.#isSendPlanned = true;
    // Changes come in swarms; the last one counts.
    queueMicrotask(() => {
      this.#isSendPlanned = false;
      for (const member of this.#members.values()) this.#sendSnapshot(member);
    });
  }

  /** Resolves when all workers serve with what was applied last. */
  async settled(): Promise<void> {
    const id = this.#snapshotId;
    await this.#until(() => [...this.#members.values()].every(({ appliedId }) => appliedId >= id));
  }

  /** Resolves when `counted` holds all requests that were over when this was called. */
  async refresh(): Promise<void> {
    this.#reportId += 1;
    const id = this.#reportId;
    const asked = [...this.#members.values()];
    for (const { link } of asked) sendMessage(link, { type: 'report', id });
    await this.#until(() =>
      asked.every(({ pid }) => !this.#members.has(pid) || (this.#reported.get(pid) ?? 0) >= id),
    );
  }

  /** The workers end what is under way, for at most 10 s. */
  async close(): Promise<void> {
    if (this.#isClosing) return;
    this.#isClosing = true;
    const parts = new CloseStack(this.#deps.clock, DRAIN_TIMEOUT_MS + 5000);
    parts.defer('socket of the workers', async () => {
      this.#server.close();
      for (const { link } of this.#members.values()) link.destroy();
      await rm(this.#socketPath, { force: true });
    });
    parts.defer('workers', () => this.#endWorkers());
    await parts.close();
  }

  async #endWorkers(): Promise<void> {
    for (const { link } of this.#members.values()) sendMessage(link, { type: 'drain' });
    const workers = this.#processes();
    const deadlineMs = this.#deps.clock.monotonicMs() + DRAIN_TIMEOUT_MS;
    while (this.#members.size > 0 && this.#deps.clock.monotonicMs() < deadlineMs) {
      await this.#until(() => this.#members.size === 0);
    }
    await Promise.all(workers.map((worker) => endProcess(this.#deps.clock, worker)));
  }

  get #socketPath(): string {
    return join(this.#options.folder, 'workers.sock');
  }

  async #listen(): Promise<void> {
    await mkdir(this.#options.folder, { recursive: true, mode: 0o700 });
    await rm(this.#socketPath, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (error) => reject(listenError(error, { path: this.#socketPath })));
      this.#server.listen({ path: this.#socketPath, readableAll: false, writableAll: false }, resolve);
    });
  }

  /** Processes of ours in this folder, known or not. */
  #processes() {
    const entry = entryPath(ENTRY);
    return processesIn(this.#options.folder, (argv) => argv.includes(entry));
  }

  /** Waits for those that were left, and ends those that do not call or are of another version or configuration. */
  async #adopt(): Promise<void> {
    const left = this.#processes();
    if (left.length === 0) {
      await this.#claimPorts();
      return;
    }
    await this.#until(() => left.every(({ pid }) => this.#members.has(pid)), ADOPTION_MS);
    const strangers = left.filter(({ pid }) => !this.#members.has(pid));
    await Promise.all(strangers.map((worker) => endProcess(this.#deps.clock, worker)));
    this.#deps.log.info({ count: this.#members.size, ended: strangers.length }, 'workers taken over');
    if (this.#members.size === 0) await this.#claimPorts();
  }

  /** Workers share their ports with each other; that nobody else has them is tried first. */
  async #claimPorts(): Promise<void> {
    const { listen } = this.#options;
    if (listen.port === 0) return;
    const trial = createServer();
    await new Promise<void>((resolve, reject) => {
      trial.once('error', (error) => reject(listenError(error, listen)));
      trial.listen(listen, resolve);
    });
    await new Promise<void>((resolve) => trial.close(() => resolve()));
  }

  /** Starts what is missing: one first, since it may be the kernel that chooses the port. */
  async #fill(): Promise<void> {
    while (this.#members.size < this.#options.count) {
      const wanted = this.#port === 0 ? 1 : this.#options.count;
      for (let count = this.#members.size; count < wanted; count += 1) this.#spawn();
      await new Promise<void>((resolve, reject) => {
        this.#onFailure = reject;
        const isFull = () => this.#members.size >= wanted && this.#port !== 0;
        void this.#until(isFull, START_TIMEOUT_MS).then(() =>
          isFull()
            ? resolve()
            : reject(gatewayError('worker_failed', 'a worker of the data plane did not start')),
        );
      });
    }
    this.#onFailure = undefined;
  }

  #spawn(): void {
    const { folder, version } = this.#options;
    // What a worker says when it breaks. It must not hold on to this process's output.
    const errors = openSync(join(folder, 'worker-errors.log'), 'a', 0o600);
    const worker = spawn(
      process.execPath,
      [...process.execArgv, entryPath(ENTRY), version, this.#socketPath],
      {
        cwd: folder,
        // It is not this process's to end: not by the terminal, and not when this process ends.
        detached: true,
        stdio: ['ignore', 'ignore', errors],
      },
    );
    closeSync(errors);
    worker.on('error', (error) => this.#onFailure?.(error));
    worker.unref();
  }

  #meet(link: Socket): void {
    let member: Member | undefined;
    link.on('error', () => undefined);
    link.on('close', () => {
      if (member) this.#lose(member);
    });
    readMessages(link, (received) => {
      const message = received as FromWorker;
      if (message.type === 'hello') {
        member = this.#welcome(link, message);
        return;
      }
      if (message.type === 'failed') {
        this.#onFailure?.(new CodedError(message.code || 'worker_failed', 500, message.message));
        this.#deps.log.error({ reason: message.message }, 'a worker cannot listen');
        return;
      }
      if (member) this.#hear(member, message);
    });
  }

  /** A worker calls: a new one is told where to listen; one that has served on is kept when it serves as it should. */
  #welcome(
    link: Socket,
    { pid, version, options }: Extract<FromWorker, { type: 'hello' }>,
  ): Member | undefined {
    // Only our own processes can open this socket; that it is one of ours is looked at all the same.
    if (this.#isClosing || !identifyProcess(pid)) {
      link.destroy();
      return undefined;
    }
    const member: Member = { pid, link, appliedId: -1, uses: [] };
    if (options === undefined) {
      // One that takes the place of another knows all sites before it takes its first connection.
      const snapshot = this.#snapshotId > 0 ? this.#snapshot : undefined;
      sendMessage(link, { type: 'start', options: this.#workerOptions, snapshot });
      return member;
    }
    // The first that is met says which ports the kernel chose; the others have the same.
    const wanted = this.#port === 0 ? this.#wanted : this.#workerOptions;
    if (version !== this.#options.version || !fits(options, wanted)) {
      sendMessage(link, { type: 'drain' });
      return undefined;
    }
    this.#join(member, options);
    return member;
  }

  #join(member: Member, options: WorkerOptions): void {
    this.#port = options.listen.port;
    this.#workerOptions = options;
    this.#failures = 0;
    this.#members.set(member.pid, member);
    // One that was taken over serves as it did until there is something to say.
    if (this.#snapshotId > 0) this.#sendSnapshot(member);
    this.#wake();
  }

  #hear(member: Member, message: FromWorker): void {
    switch (message.type) {
      case 'listening':
        this.#join(member, message.options);
        break;
      case 'applied':
        member.appliedId = message.id;
        break;
      case 'report':
        this.#counted.add(message.counted);
        member.uses = message.uses;
        if (message.id !== undefined) this.#reported.set(member.pid, message.id);
        break;
      case 'wake':
        this.#deps.onWake?.(message.vm);
        return;
      case 'log':
        this.#deps.log[message.level](message.fields, message.message);
        return;
      default:
        return;
    }
    this.#wake();
  }

  /** A worker is gone. Another one takes its place; the kernel gives its connections to those that are left. */
  #lose({ pid, link }: Member): void {
    if (this.#members.get(pid)?.link !== link) return;
    this.#members.delete(pid);
    this.#reported.delete(pid);
    this.#wake();
    if (this.#isClosing || this.#onFailure) return;
    this.#failures += 1;
    const delayMs = Math.min(SLOWEST_RESTART_MS, RESTART_MS * 2 ** Math.min(10, this.#failures - 1));
    this.#deps.log.warn({ pid, delayMs }, 'a worker of the data plane has ended; another one is started');
    this.#deps.clock.after(delayMs, () => {
      if (!this.#isClosing && this.#members.size < this.#options.count) this.#spawn();
    });
  }

  #sendSnapshot({ link }: Member): void {
    sendMessage(link, { type: 'snapshot', id: this.#snapshotId, snapshot: this.#snapshot });
  }

  #wake(): void {
    for (const look of this.#waiting) look();
  }

  /** Resolves when `isSo` holds, looked at with every message, or when it took too long. */
  #until(isSo: () => boolean, timeoutMs = ANSWER_TIMEOUT_MS): Promise<void> {
    if (isSo()) return Promise.resolve();
    return new Promise((resolve) => {
      const finish = () => {
        timer[Symbol.dispose]();
        this.#waiting.delete(look);
        resolve();
      };
      const look = () => {
        if (isSo()) finish();
      };
      const timer = this.#deps.clock.after(timeoutMs, finish);
      this.#waiting.add(look);
    });
  }
}
