import type { Closable } from '../../base/index.ts';
import type { MachineDisk } from '../disks/machine-disk.ts';
import type { GuestCommands } from '../guest-commands/guest-commands.ts';
import type { StoredImage } from '../images/image-store.ts';
import type { Configuration } from '../schema.ts';

/** What a machine is started from. */
export interface MachineSpec {
  /** The VM's name; the guest learns it as its host name. */
  readonly name: string;
  readonly image: StoredImage;
  readonly configuration: Configuration;
  /** The VM's own disks in their order, for one writer: nobody else opens them while its machine lives. */
  readonly disks?: readonly MachineDisk[];
  /** The folder into which a machine of this VM was saved: it goes on from there instead of booting. */
  readonly saved?: string | undefined;
}

export type Accelerator = 'kvm' | 'tcg';

export interface Address {
  readonly host: string;
  readonly port: number;
}

/**
 * How a machine came to be: its guest booted; it began where another guest had booted to, and perhaps waited there; or it
 * went on from where it was saved.
 */
export type MachineOrigin = 'boot' | 'clone' | 'warm' | 'saved';

/** Called with a machine's id before that becomes the VM's. When it rejects, nothing runs. */
export type Claim = (machineId: string) => Promise<void>;

/** A running machine. It is not known yet whether its guest answers. */
export interface Machine {
  /** Unique among the machines that run. */
  readonly id: string;
  /** The process that runs it. */
  readonly pid: number;
  /** Where connections to the guest's HTTP server go; with several, they are best spread over all. */
  readonly addresses: readonly [Address, ...Address[]];
  readonly accelerator: Accelerator;
  /** The way to an agent in its guest, for all who have something to do there; nobody may listen. */
  readonly commands: GuestCommands | undefined;
  /** Resolves once, with a sentence that says why, when the machine is no more, whoever ended it. */
  readonly exited: Promise<string>;
  /** Ends the machine at once; resolves when it is gone and its run directory is removed. Twice is fine. */
  stop(): Promise<void>;
  /**
   * Brings it to rest, writes its memory and devices into `folder`, sealed, and ends it. The folder appears whole; what was
   * there before is gone. When it fails, the machine goes on as it was.
   *
   * @throws `machine_failed`, `disk_full`, the signal's reason.
   */
  suspend(folder: string, signal: AbortSignal): Promise<void>;
  /** As `suspend`, with copies of its disks in the folder's `disks/`, and it goes on. */
  snapshot(folder: string, signal: AbortSignal): Promise<void>;
  /** Asks the guest to power off, and ends the machine when it has not after `limitMs`. Resolves as `stop`. */
  shutDown(limitMs: number): Promise<void>;
}

export interface StartedMachine extends Machine {
  /**
   * When its process was started, or when it was told who it is, if it waited for that; on the monotonic clock. What came
   * before was preparation.
   */
  readonly startedAtMs: number;
  readonly origin: MachineOrigin;
}

/** What an earlier process of ours left running. */
export interface LeftMachines {
  /** They run on as if nothing had been, and are the caller's now: to keep, or to stop. */
  readonly machines: readonly Machine[];
  /** How many others there were, of no use to anybody, which have been ended. */
  readonly endedCount: number;
}

/** The port behind which machines run: QEMU in the product, plain processes in tests. One suite shows both. */
export interface Hypervisor extends Closable {
  /**
   * @param claim called before the machine's process is started, or, where one waits already, before that is told who it
   *   is; called again with another id when the first machine came to nothing.
   * @throws what `claim` does, `hypervisor_missing` when this host has none, `machine_failed` when the machine did not come
   *   up, `disk_full`, `disk_in_use` when another machine has one of its disks, `saved_state_unusable` when it cannot go on
   *   from where it was saved: that was another QEMU, processor, image or configuration, its disks were changed since, or it
   *   is damaged.
   */
  start(spec: MachineSpec, signal: AbortSignal, claim: Claim): Promise<StartedMachine>;
  /**
   * Takes over the machines that run here, whoever started them; to be called before the first `start`. They are found by
   * what they are, so no record of them can be lost. One that was being saved goes on. One that was still on its way up, or
   * whose monitor does not say what it does, is ended, and what dead ones left on the disk is removed.
   */
  takeOver(): Promise<LeftMachines>;
  /** What a machine may take of the host's memory, with what the hypervisor takes for itself. */
  costOf(configuration: Configuration): number;
  /** What the guest last wrote to its console, at most 64 KiB; empty when the machine is not known. */
  consoleTail(id: string): Promise<string>;
  /** Ends what waits here for later starts, and hangs up on the guests of machines that were handed out: these go on. */
  close(): Promise<void>;
}
