import { chmod, chown, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, deadline, systemCode } from '../../../base/index.ts';
import type { Log } from '../../../platform/telemetry/index.ts';
import { poolError } from '../../errors.ts';
import { machineCost } from '../../machine-cost.ts';
import type { Accelerator, Address } from '../hypervisor.ts';
import { cgroupSupport } from './cgroup-support.ts';
import { MachineCgroups } from './cgroups.ts';
import {
  forwardedPorts,
  type IdentifiedSpec,
  type Memory,
  qemuArguments,
  qemuProgram,
  type Reach,
} from './command-line.ts';
import { LINK_TAKEN_STATUS } from './confinement.ts';
import { type ConfinementSupport, confinementSupport } from './confinement-support.ts';
import { diskFiles } from './disk-arguments.ts';
import { checkDisksFree } from './disk-lock.ts';
import { guestClockOption } from './guest-clock.ts';
import { ALL_LINKS, linksFor, type MachineLink } from './machine-link.ts';
import { type MachineRecord, writeMachineRecord } from './machine-record.ts';
import type { SaveableMachine } from './machine-saver.ts';
import { QemuProcess } from './qemu-process.ts';
import { QmpClient } from './qmp.ts';
import { lastWordsIn, RUN_FILES } from './run-files.ts';
import { templateKey } from './template-key.ts';

/** sockaddr_un.sun_path has 108 octets, one of them the final NUL (unix(7)). */
const SOCKET_PATH_LIMIT = 107;
/** How many links, of 32,768, may be taken before a start is given up. */
const LINK_ATTEMPTS = 16;

export interface LaunchRequest {
  readonly spec: IdentifiedSpec;
  readonly accelerator: Accelerator;
  readonly memory: Memory;
  /** The files that QEMU gets open, in the order of `INPUT`. */
  readonly inputs: readonly string[];
  /** How long it may take until it is up; without it, as long as the signal allows. */
  readonly limitMs?: number;
  /** The arguments of a QEMU that is nobody's machine, and for nobody to take over. */
  readonly args?: readonly string[];
}

/** A QEMU that was started; `waiting` aborts when it ended, took too long or is no longer wanted. */
export interface Launched extends SaveableMachine {
  readonly qemu: QemuProcess;
  readonly startedAtMs: number;
  readonly waiting: AbortSignal;
}

/** Starts QEMU processes, each in a run directory below one folder, and confined where that can be. */
export class QemuLauncher {
  readonly #deps: { readonly clock: Clock; readonly log: Log };
  readonly #runFolder: string;
  #support: Promise<ConfinementSupport> | undefined;
  #lastReason: string | undefined;
  readonly #closing = new AbortController();
  #cgroups: Promise<MachineCgroups | undefined> | undefined;

  constructor(deps: { readonly clock: Clock; readonly log: Log }, runFolder: string) {
    this.#deps = deps;
    this.#runFolder = runFolder;
  }

  /** Aborts when this process lets go of its machines, which go on. */
  get closed(): AbortSignal {
    return this.#closing.signal;
  }

  close(): void {
    this.#closing.abort();
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
      this.#deps.log.warn({ reason: support.reason }, 'machines run as our own user, unconfined');
    }
    this.#lastReason = support.reason;
    return 'ports';
  }

  /** The machines' limits by the kernel, where they can be had. */
  cgroups(): Promise<MachineCgroups | undefined> {
    this.#cgroups ??= cgroupSupport().then((support) => {
      if (support.hasLimits) return new MachineCgroups(support.folder, this.#runFolder);
      this.#deps.log.warn({ reason: support.reason }, 'machines have no limits of memory and processor time');
      return undefined;
    });
    return this.#cgroups;
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
    { spec, accelerator, memory, inputs, limitMs, args }: LaunchRequest,
    signal: AbortSignal,
    bringUp: (launched: Launched) => Promise<Outcome>,
    link?: MachineLink,
  ): Promise<Outcome> {
    const directory = this.directoryOf(spec.id);
    const { image, configuration, disks = [] } = spec;
    const { architecture, http } = image.manifest;
    const { cpus } = configuration;
    const memoryBytes = machineCost(configuration, accelerator);
    const cgroups = await this.cgroups();
    const { clock } = this.#deps;
    let qemu: QemuProcess | undefined;
    try {
      await makeRunDirectory(directory, link?.userId);
      const record: MachineRecord = {
        accelerator,
        port: http.port,
        linkIndex: link?.index,
        imageDigest: image.digest,
        configuration,
        key: await templateKey(spec, accelerator, link ? 'tap' : 'ports'),
        disks: [...disks],
      };
      if (!args) await writeMachineRecord(directory, record);
      await checkDisksFree(this.#runFolder, spec.id, disks);
      const startedAtMs = clock.monotonicMs();
      const clockOption = await guestClockOption();
      const cgroup = await cgroups?.make(spec.id, { memoryBytes, cpus });
      qemu = await QemuProcess.spawn({
        program: qemuProgram(architecture),
        args: args ?? qemuArguments(spec, accelerator, clockOption, link ? 'tap' : 'ports', memory),
        directory,
        inputs,
        diskFiles: diskFiles(disks),
        confinement: link && {
          link,
          port: http.port,
          hostPid: process.pid,
          needsKvm: accelerator === 'kvm',
        },
        cgroup,
      });
      const reasons = [signal, qemu.ended];
      if (limitMs !== undefined) reasons.push(deadline(clock, limitMs, `not up within ${limitMs} ms`));
      const waiting = AbortSignal.any(reasons);
      return await bringUp({ qemu, directory, link, record, startedAtMs, waiting });
    } catch (error) {
      await qemu?.kill();
      const status = (await qemu?.exited)?.status;
      const lastWords = qemu ? await this.lastWordsOf(spec.id) : '';
      await this.clear(spec.id);
      signal.throwIfAborted();
      if (link && status === LINK_TAKEN_STATUS) throw new LinkTaken();
      if (systemCode(error) === 'ENOSPC') throw poolError('disk_full', `no room in ${directory}`, error);
      if (lastWords !== '') throw poolError('machine_failed', `QEMU: ${lastWords}`, error);
      throw error;
    }
  }

  /** Connects to QEMU's monitor. When that answers, all that QEMU was given is there and in order. */
  monitorOf({ directory, waiting }: Launched): Promise<QmpClient> {
    return QmpClient.connect(this.#deps.clock, join(directory, RUN_FILES.monitor), waiting);
  }

  /** What there is to say of a QEMU's end beside its status. */
  async lastWordsOf(id: string): Promise<string> {
    const cgroups = await this.cgroups();
    if (await cgroups?.ranOutOfMemory(id))
      return 'the machine took more memory than its limit (out of memory)';
    return lastWordsIn(this.directoryOf(id));
  }

  /** Removes what an ended machine had here. */
  async clear(id: string): Promise<void> {
    await rm(this.directoryOf(id), { recursive: true, force: true });
    await (await this.cgroups())?.remove(id);
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
async function makeRunDirectory(directory: string, userId?: number): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  if (userId === undefined) return;
  await chown(directory, 0, userId);
  await chmod(directory, 0o1770);
}
