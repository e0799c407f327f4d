import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../base/index.ts';

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

  async forget(version: VersionName): Promise<void> {
    const folder = this.folderOf(version);
    for (const path of [folder, `${folder}.taken`]) await rm(path, { recursive: true, force: true });
  }
}
