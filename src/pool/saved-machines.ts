import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../base/index.ts';
import { namesIn } from '../platform/files/index.ts';

/** Which version of which VM. */
export interface VersionName {
  readonly name: string;
  readonly version: number;
}

/** In a VM's folder: its snapshots, and its disk before a change, which whoever ends the change looks after. */
const OF_OTHERS = /^(?:snapshots|before-\d{1,9})$/;

const nameOf = (version: number): string => `suspended-${version}`;

/** What machines were when they were suspended: `<folder>/<VM>/suspended-<version>`. */
export class SavedMachines {
  readonly #folder: string;

  /** @param folder has a folder for each VM. */
  constructor(folder: string) {
    this.#folder = folder;
  }

  folderOf({ name, version }: VersionName): string {
    return join(this.#folder, name, nameOf(version));
  }

  /**
   * What a machine can go on from, once: when it runs, the caller has it forgotten, because from then on the VM is further
   * than that. Until then it stays, for us and for whoever comes after us. `undefined` when there is nothing.
   */
  async find(version: VersionName): Promise<string | undefined> {
    const folder = this.folderOf(version);
    try {
      await stat(folder);
      return folder;
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** Removes all that was kept of a VM, its snapshots and copies of its disk among it. */
  forgetVm(name: string): Promise<void> {
    return rm(join(this.#folder, name), { recursive: true, force: true });
  }

  /**
   * Removes what nobody goes back to: what was kept of VMs and of versions that are not there any more, and what was begun
   * by a process that died.
   *
   * @param wanted the VMs that there are, and which of their versions may run.
   */
  async collect(wanted: ReadonlyMap<string, readonly number[]>): Promise<void> {
    for (const name of await namesIn(this.#folder)) {
      const versions = wanted.get(name);
      if (!versions) {
        await this.forgetVm(name);
        continue;
      }
      for (const entry of await namesIn(join(this.#folder, name))) {
        const isKept = OF_OTHERS.test(entry) || versions.some((version) => entry === nameOf(version));
        if (!isKept) await rm(join(this.#folder, name, entry), { recursive: true, force: true });
      }
    }
  }

  forget(version: VersionName): Promise<void> {
    return rm(this.folderOf(version), { recursive: true, force: true });
  }
}
