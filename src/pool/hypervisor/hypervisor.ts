import type { StoredImage } from '../images/image-store.ts';
import type { Configuration } from '../schema.ts';

/** What a machine is started from. */
export interface MachineSpec {
  /** Unique among the machines that run: names its run directory. */
  readonly id: string;
  /** The VM's name; the guest learns it as its host name. */
  readonly name: string;
  readonly image: StoredImage;
  readonly configuration: Configuration;
}

export type Accelerator = 'kvm' | 'tcg';

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** A running machine. It is not known yet whether its guest answers. */
export interface Machine {
  readonly id: string;
  /** The process that runs it. */
  readonly pid: number;
  /** Where connections to the guest's HTTP server go; with several, they are best spread over all. */
  readonly addresses: readonly [Address, ...Address[]];
  readonly accelerator: Accelerator;
  /** Where its guest takes commands (QEMU's guest agent), a Unix socket; nobody may listen in the guest. */
  readonly commandSocket: string | undefined;
  /** Resolves once, with a sentence that says why, when the machine is no more, whoever ended it. */
  readonly exited: Promise<string>;
  /** Ends the machine at once; resolves when it is gone and its run directory is removed. Twice is fine. */
  stop(): Promise<void>;
}

export interface StartedMachine extends Machine {
  /** When its process was started, on the monotonic clock: what came before was preparation. */
  readonly startedAtMs: number;
}

/** What an earlier process of ours left running. */
export interface LeftMachines {
  /** They run on as if nothing had been, and are the caller's now: to keep, or to stop. */
  readonly machines: readonly Machine[];
  /** How many others there were, of no use to anybody, which have been ended. */
  readonly endedCount: number;
}

/** The port behind which machines run: QEMU in the product, plain processes in tests. One suite shows both. */
export interface Hypervisor {
  /**
   * @throws `hypervisor_missing` when this host has none, `machine_failed` when the machine did not come up, `disk_full`.
   */
  start(spec: MachineSpec, signal: AbortSignal): Promise<StartedMachine>;
  /**
   * Takes over the machines that run here, whoever started them; to be called before the first `start`. They are found by
   * what they are, so no record of them can be lost. One that was still on its way up, or whose monitor does not say that
   * it runs, is ended, and what dead ones left on the disk is removed.
   */
  takeOver(): Promise<LeftMachines>;
  /** What the guest last wrote to its console, at most 64 KiB; empty when the machine is not known. */
  consoleTail(id: string): Promise<string>;
}
