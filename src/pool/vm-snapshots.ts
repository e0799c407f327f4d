import { poolError } from './errors.ts';
import type { Snapshot } from './schema.ts';
import type { Snapshots } from './snapshots.ts';
import type { VersionedVm } from './versioned-vm.ts';

export interface VmSnapshotsDeps {
  readonly kept: Snapshots;
  /** @throws `vm_not_found` */
  readonly find: (name: string) => VersionedVm;
  /** Puts a snapshot in the place of what the VM is, while it has no machine. */
  readonly bringBack: (vm: VersionedVm, label: string) => Promise<void>;
}

/** The snapshots of the pool's VMs: taken of them, and gone back to. */
export class VmSnapshots {
  readonly #deps: VmSnapshotsDeps;

  constructor(deps: VmSnapshotsDeps) {
    this.#deps = deps;
  }

  /** The oldest first. @throws `vm_not_found` */
  async list(name: string): Promise<Snapshot[]> {
    return this.#deps.kept.list(this.#deps.find(name).name);
  }

  /**
   * Keeps what a VM is now, its memory and its disks; it pauses meanwhile and goes on.
   *
   * @throws `vm_not_found`, `vm_not_ready`, `snapshot_conflict`, `disk_full`
   */
  async take(name: string, label: string): Promise<Snapshot> {
    const vm = this.#deps.find(name);
    const { imageDigest } = vm.versions.current;
    if (imageDigest === undefined) throw poolError('vm_not_ready', `the VM ${name} never ran`);
    return this.#deps.kept.take(name, label, imageDigest, (folder) => vm.snapshot(folder));
  }

  /** @throws `vm_not_found`, `snapshot_not_found` */
  async remove(name: string, label: string): Promise<void> {
    await this.#deps.kept.remove(this.#deps.find(name).name, label);
  }

  /**
   * A VM goes on from what it was then; what came after that is lost.
   *
   * @throws `vm_not_found`, `snapshot_not_found`, `snapshot_conflict` when it runs another image now, `vm_conflict`
   */
  async revert(name: string, label: string): Promise<void> {
    const vm = this.#deps.find(name);
    const { imageDigest } = await this.#deps.kept.find(name, label);
    if (imageDigest !== vm.versions.current.imageDigest) {
      throw poolError(
        'snapshot_conflict',
        `the snapshot ${label} is of another image than the VM ${name} runs from`,
      );
    }
    await vm.revert(() => this.#deps.bringBack(vm, label));
  }
}
