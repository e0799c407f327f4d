import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../base/index.ts';
import { namesIn } from '../platform/files/index.ts';

/** Which version of which VM. */
export interface VersionName {
  readonly name: string;
  readonly version: number;
}

/** What machines were when they were suspended: `<folder>/<VM>/suspended-<version>`. */
export class SavedMachines {
  readonly #folder: string;

  /** @param folder has a folder for each VM. */
  constructor(folder: string) {
    this.#folder = folder;
  }

  folderOf({ name, version }: VersionName): string {
    return join(this.#folder, name, `suspended-${version}`);
  }

  /**
   * What a machine can go on from, once: from then on the VM may be further than that, and its disks with it. The caller
   * removes it when it was used. `undefined` when there is nothing.
   */
  async take(version: VersionName): Promise<string | undefined> {
    const folder = this.folderOf(version);
    const taken = `${folder}.taken`;
    await rm(taken, { recursive: true, force: true });
    try {
      await rename(folder, taken);
      return taken;
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** Removes all that was kept of a VM, its snapshots and copies of its disk among it. */
  forgetVm(name: string): Promise<void> {
    return rm(join(this.#folder, name), { recursive: true, force: true });
  }

  /** Removes what was kept of VMs that are not there any more. */
  async collect(names: ReadonlySet<string>): Promise<void> {
    for (const name of await namesIn(this.#folder)) if (!names.has(name)) await this.forgetVm(name);
  }

  async forget(version: VersionName): Promise<void> {
    const folder = this.folderOf(version);
    for (const path of [folder, `${folder}.taken`]) await rm(path, { recursive: true, force: true });
  }
}
