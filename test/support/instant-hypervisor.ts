import type { Clock } from '../../src/base/index.ts';
import { poolError } from '../../src/pool/errors.ts';
import type { Hypervisor, MachineSpec, StartedMachine } from '../../src/pool/index.ts';

const folderOf = ({ version }: { readonly version: number }): string => `saved-${version}`;

/** Machines that are there at once, and nothing but there: for tests of what is decided about them. */
export class InstantHypervisor implements Hypervisor {
  readonly #clock: Clock;
  /** What runs, by its image's digest. */
  readonly machines = new Map<string, { readonly dies: (reason: string) => void }>();
  /** From where machines went on. */
  readonly restored: string[] = [];
  /** No machine can be suspended. */
  isStubborn = false;
  readonly #kept = new Set<string>();
  /** What was suspended, as `SavedMachines` has it. */
  readonly saved = {
    folderOf,
    find: async (version: { readonly version: number }) =>
      this.#kept.has(folderOf(version)) ? folderOf(version) : undefined,
    forget: async (version: { readonly version: number }) => void this.#kept.delete(folderOf(version)),
  };

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async start({ image: { digest }, saved }: MachineSpec): Promise<StartedMachine> {
    if (saved !== undefined) this.restored.push(saved);
    const { promise: exited, resolve } = Promise.withResolvers<string>();
    this.machines.set(digest, { dies: resolve });
    return {
      id: digest,
      pid: 1,
      startedAtMs: this.#clock.monotonicMs(),
      origin: 'boot',
      addresses: [{ host: digest, port: 80 }],
      accelerator: 'tcg',
      commands: undefined,
      exited,
      stop: async () => void this.machines.delete(digest),
      suspend: async (folder) => {
        if (this.isStubborn) throw poolError('machine_failed', 'it cannot be suspended');
        this.machines.delete(digest);
        this.#kept.add(folder);
      },
      snapshot: async () => undefined,
      shutDown: async () => undefined,
    };
  }

  async takeOver() {
    return { machines: [], endedCount: 0 };
  }

  async consoleTail(): Promise<string> {
    return '';
  }

  async close(): Promise<void> {
    this.machines.clear();
  }

  costOf(): number {
    return 0;
  }
}
