import { chmod, chown, mkdir, rm, truncate, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { type Clock, deadline, systemCode } from '../../../base/index.ts';
import type { Log } from '../../../platform/telemetry/index.ts';
import { poolError } from '../../errors.ts';
import type { Accelerator, Address, Machine, MachineSpec } from '../hypervisor.ts';
import { forwardedPorts, type Memory, qemuArguments, qemuProgram, type Reach } from './command-line.ts';
import { LINK_TAKEN_STATUS } from './confinement.ts';
import { type ConfinementSupport, confinementSupport } from './confinement-support.ts';
import { guestClockOption } from './guest-clock.ts';
import { ALL_LINKS, linksFor, type MachineLink } from './machine-link.ts';
import { writeMachineRecord } from './machine-record.ts';
import { QemuProcess, type RunningQemu } from './qemu-process.ts';
import { QmpClient } from './qmp.ts';
import { keepShort, lastWordsIn, RUN_FILES } from './run-files.ts';

/** sockaddr_un.sun_path has 108 octets, one of them the final NUL (unix(7)). */
const SOCKET_PATH_LIMIT = 107;
/** How many links, of 32,768, may be taken before a start is given up. */
const LINK_ATTEMPTS = 16;
const LOG_LOOK_INTERVAL_MS = 5000;

export interface LaunchRequest {
  readonly spec: MachineSpec;
  readonly accelerator: Accelerator;
  readonly memory: Memory;
  /** The files that QEMU gets open, in the order of `INPUT`. */
  readonly inputs: readonly string[];
  /** How long it may take until it is up. */
  readonly limitMs: number;
}

/** A QEMU that was started; `waiting` aborts when it ended, took too long or is no longer wanted. */
export interface Launched {
  readonly qemu: QemuProcess;
  readonly directory: string;
  readonly link: MachineLink | undefined;
  readonly startedAtMs: number;
  readonly waiting: AbortSignal;
}

/** Starts QEMU processes, each in a run directory below one folder, and confined where that can be. */
export class QemuLauncher {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #runFolder: string;
  #support: Promise<ConfinementSupport> | undefined;
  #lastReason: string | undefined;

  constructor(deps: { clock: Clock; log: Log }, runFolder: string) {
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.#runFolder = runFolder;
  }

  directoryOf(id: string): string {
    return join(this.#runFolder, id);
  }

  /** How guests are reached here. That they can be confined is found out once; that they cannot may change. */
  async reach(): Promise<Reach> {
    const support = await (this.#support ??= confinementSupport());
    if (support.isConfined) return 'tap';
    this.#support = undefined;
    if (support.reason !== this.#lastReason) {
      this.#log.warn({ reason: support.reason }, 'machines run as our own user, unconfined');
    }
    this.#lastReason = support.reason;
    return 'ports';
  }

  /**
   * Starts QEMU and gives what `bringUp` makes of it. When that fails, nothing of it is left, and the error says what QEMU
   * had to complain about.
   */
  async launch<Outcome>(
    request: LaunchRequest,
    signal: AbortSignal,
    bringUp: (launched: Launched) => Promise<Outcome>,
  ): Promise<Outcome> {
    const directory = this.directoryOf(request.spec.id);
    checkSocketPath(join(directory, RUN_FILES.monitor));
    if ((await this.reach()) === 'ports') return this.#attempt(request, signal, bringUp);
    for (const link of linksFor(directory, LINK_ATTEMPTS)) {
      try {
        return await this.#attempt(request, signal, bringUp, link);
      } catch (error) {
        if (!(error instanceof LinkTaken)) throw error;
      }
    }
    throw poolError('machine_failed', `${LINK_ATTEMPTS} links in a row are taken; is ${ALL_LINKS} in use?`);
  }

  async #attempt<Outcome>(
    { spec, accelerator, memory, inputs, limitMs }: LaunchRequest,
    signal: AbortSignal,
    bringUp: (launched: Launched) => Promise<Outcome>,
    link?: MachineLink,
  ): Promise<Outcome> {
    const directory = this.directoryOf(spec.id);
    const { architecture, http } = spec.image.manifest;
    let qemu: QemuProcess | undefined;
    try {
      await makeRunDirectory(directory, spec.configuration.diskBytes, link?.userId);
      if (memory !== 'template') {
        await writeMachineRecord(directory, { accelerator, port: http.port, linkIndex: link?.index });
      }
      const startedAtMs = this.#clock.monotonicMs();
      const clockOption = await guestClockOption();
      qemu = await QemuProcess.spawn({
        program: qemuProgram(architecture),
        args: qemuArguments(spec, accelerator, clockOption, link ? 'tap' : 'ports', memory),
        directory,
        inputs,
        confinement: link && {
          link,
          port: http.port,
          hostPid: process.pid,
          needsKvm: accelerator === 'kvm',
        },
      });
      const tooLate = deadline(this.#clock, limitMs, `not up within ${limitMs} ms`);
      const waiting = AbortSignal.any([signal, qemu.ended, tooLate]);
      return await bringUp({ qemu, directory, link, startedAtMs, waiting });
    } catch (error) {
      await qemu?.kill();
      const status = (await qemu?.exited)?.status;
      const lastWords = qemu ? await lastWordsIn(directory) : '';
      await rm(directory, { recursive: true, force: true });
      signal.throwIfAborted();
      if (link && status === LINK_TAKEN_STATUS) throw new LinkTaken();
      if (systemCode(error) === 'ENOSPC') throw poolError('disk_full', `no room in ${directory}`, error);
      if (lastWords !== '') throw poolError('machine_failed', `QEMU: ${lastWords}`, error);
      throw error;
    }
  }

  /** Connects to QEMU's monitor. When that answers, all that QEMU was given is there and in order. */
  monitorOf({ directory, waiting }: Launched): Promise<QmpClient> {
    return QmpClient.connect(this.#clock, join(directory, RUN_FILES.monitor), waiting);
  }

  /** A machine of what was launched, or taken over, from now on the caller's: its directory goes when it ends. */
  machineOf(
    { qemu, directory }: { readonly qemu: RunningQemu; readonly directory: string },
    accelerator: Accelerator,
    addresses: Machine['addresses'],
  ): Machine {
    const keeping = keepLogsShort(this.#clock, directory, qemu.ended);
    const exited = qemu.exited.then(async ({ reason }) => {
      await keeping;
      const lastWords = await lastWordsIn(directory);
      await rm(directory, { recursive: true, force: true }).catch((err: unknown) =>
        this.#log.warn({ err, directory }, 'run directory not removed'),
      );
      return lastWords === '' ? reason : `${reason}: ${lastWords}`;
    });
    const stop = async () => {
      await qemu.kill();
      await exited;
    };
    const commandSocket = join(directory, RUN_FILES.commands);
    return { id: basename(directory), pid: qemu.pid, addresses, accelerator, commandSocket, exited, stop };
  }
}

/** Where connections to the guest's HTTP server go. */
export async function addressesOf(
  { link }: { readonly link: MachineLink | undefined },
  monitor: QmpClient,
  port: number,
): Promise<[Address, ...Address[]]> {
  if (link) return [{ host: link.machineAddress, port }];
  const usernet = await monitor.execute('human-monitor-command', { 'command-line': 'info usernet' });
  const [first, ...others] = forwardedPorts(String(usernet)).map((own) => ({ host: '127.0.0.1', port: own }));
  if (!first) throw poolError('machine_failed', 'QEMU does not tell its forwarded ports');
  return [first, ...others];
}

/** Another machine, perhaps of another Orilla, has it: the next is tried. */
class LinkTaken extends Error {}

function checkSocketPath(path: string): void {
  if (Buffer.byteLength(path) <= SOCKET_PATH_LIMIT) return;
  throw poolError(
    'machine_failed',
    `${path} is too long for a Unix socket (${SOCKET_PATH_LIMIT} octets); use a data folder with a shorter path`,
  );
}

/**
 * @param userId of a confined QEMU. In the directory it can make its sockets; what is ours there it can neither remove nor
 *   replace (the sticky bit).
 */
async function makeRunDirectory(directory: string, diskBytes: number, userId?: number): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  if (userId !== undefined) {
    await chown(directory, 0, userId);
    await chmod(directory, 0o1770);
  }
  if (diskBytes === 0) return;
  const disk = join(directory, RUN_FILES.disk);
  await writeFile(disk, '', { mode: 0o600 });
  await truncate(disk, diskBytes);
  if (userId !== undefined) await chown(disk, userId, userId);
}

/** Until QEMU has ended. */
async function keepLogsShort(clock: Clock, directory: string, ended: AbortSignal): Promise<void> {
  while (!ended.aborted) {
    await waitAside(clock, LOG_LOOK_INTERVAL_MS, ended);
    for (const log of [RUN_FILES.console, RUN_FILES.errors]) await keepShort(join(directory, log));
  }
}

/** A wait that does not keep our process alive, and ends when the signal aborts. */
export function waitAside(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      timer[Symbol.dispose]();
      signal.removeEventListener('abort', finish);
      resolve();
    };
    const timer = clock.after(delayMs, finish);
    signal.addEventListener('abort', finish, { once: true });
    if (signal.aborted) finish();
  });
}
