import { DiskBackups } from './disks/disk-backups.ts';
import { sharesDisks } from './disks/disk-sharing.ts';
import type { ImageLibrary } from './image-library.ts';
import type { StoredImage } from './images/image-store.ts';
import type { PoolDeps } from './pool-deps.ts';
import { probeHttp } from './readiness.ts';
import type { SavedMachines } from './saved-machines.ts';
import type { Snapshots } from './snapshots.ts';
import { VersionedVm, type VersionedVmDeps } from './versioned-vm.ts';
import { type FoundMachine, type SupervisorDeps, type VmSpec, VmSupervisor } from './vm-supervisor.ts';
import { saveMachine, saveVm, type VmRecord } from './vm-table.ts';
import { imagesOf } from './vm-versions.ts';

export interface VmFactoryDeps extends PoolDeps {
  readonly library: ImageLibrary;
  readonly snapshots: Snapshots;
  readonly saved: SavedMachines;
  readonly furnish: SupervisorDeps['furnish'];
  /** Resolves when no request of the VM is under way and none is to come. */
  readonly quiet: (vm: string) => Promise<void>;
  /** @throws when there is no room for the VM's machine. */
  readonly checkRoom: (vm: VersionedVm) => void;
  readonly onChange: VersionedVmDeps['onChange'];
  /** Aborts when the pool ends. */
  readonly ending: AbortSignal;
}

export interface VmFactoryOptions {
  readonly savedFolder: string;
  readonly readyTimeoutMs: number;
}

/** Makes VMs of what is wanted: gives each its images, its disks, and what it was when it was suspended. */
export class VmFactory {
  readonly #deps: VmFactoryDeps;
  readonly #options: VmFactoryOptions;
  readonly #backups: DiskBackups;
  readonly #withDisks: Set<string>;

  /** @param withDisks digests of images that have disks; those that are fetched later are found out. */
  constructor(deps: VmFactoryDeps, options: VmFactoryOptions, withDisks: Iterable<string>) {
    this.#deps = deps;
    this.#options = options;
    this.#backups = new DiskBackups(deps.disks, options.savedFolder);
    this.#withDisks = new Set(withDisks);
  }

  /** @param found what is there for it already, by its version. */
  make(record: VmRecord, found: ReadonlyMap<number, FoundMachine> = new Map()): VersionedVm {
    const { clock, log, store, disks, hypervisor, probe = probeHttp, furnish, ending } = this.#deps;
    const { name } = record;
    const vm: VersionedVm = new VersionedVm(
      {
        clock,
        log,
        supervise: (spec, onChange, alone, isSuspended) =>
          new VmSupervisor(
            {
              clock,
              log,
              hypervisor,
              probe,
              alone,
              furnish,
              onChange,
              saved: this.#deps.saved,
              fetchImage: (wanted, signal) => this.#fetchImage(vm, wanted, signal),
              prepareDisks: ({ configuration }, image, signal) =>
                disks.prepare(name, image, configuration, signal),
              recordMachine: ({ version }, machineId) => saveMachine(store.db, { name, version, machineId }),
            },
            spec,
            this.#options.readyTimeoutMs,
            isSuspended ? 'suspended' : found.get(spec.version),
          ),
        save: async (wanted, also) => {
          await store.transaction(async (transaction) => {
            await saveVm(transaction, wanted);
            await also?.(transaction);
          });
          await disks.keepOverlays(name, imagesOf(wanted.versions));
        },
        sharesDisks: (one, other) => sharesDisks(one, other, this.#withDisks),
        settleDisks: async (versions) => {
          const disk = await disks.own(name);
          if (disk) await this.#backups.settle(name, disk, versions, ending);
        },
        quiet: () => this.#deps.quiet(name),
        costOf: (configuration) => hypervisor.costOf(configuration),
        checkRoom: () => this.#deps.checkRoom(vm),
        forgetSaved: (version) => this.#deps.saved.forget({ name, version }),
        onChange: this.#deps.onChange,
      },
      record,
    );
    return vm;
  }

  /** Puts a snapshot in the place of what the VM is, while it has no machine. */
  async bringBack({ name, owner, versions }: VersionedVm, label: string): Promise<void> {
    const { disks, library, snapshots, ending } = this.#deps;
    const { version, configuration, imageRef, imageDigest } = versions.current;
    const image = await library.fetch({ owner, imageRef, imageDigest }, ending, () => undefined);
    const own = await disks.prepare(name, image, configuration, ending);
    await disks.restore(own, snapshots.disksOf(name, label), ending);
    await snapshots.copyMachine(name, label, this.#deps.saved.folderOf({ name, version }));
  }

  async #fetchImage(vm: VersionedVm, spec: VmSpec, signal: AbortSignal): Promise<StoredImage> {
    const { version } = spec;
    try {
      const image = await this.#deps.library.fetch(spec, signal, (progress) =>
        vm.showProgress(version, progress),
      );
      if (spec.imageDigest === undefined) await vm.pin(version, image.digest);
      if (image.manifest.disks) this.#withDisks.add(image.digest);
      return image;
    } finally {
      vm.showProgress(version, undefined);
    }
  }
}
