import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { namesIn } from '../../platform/files/index.ts';
import type { VmVersions } from '../vm-versions.ts';
import type { MachineDisk } from './machine-disk.ts';
import type { VmDisks } from './vm-disks.ts';

const BACKUP = /^before-(\d{1,9})$/;

/**
 * VMs' own disks as they were before a version that runs on the same disk: `<folder>/<VM>/before-<version>`. When that fails,
 * the version before has its disk back as it was; when it serves, the copy goes [desktop D17].
 */
export class DiskBackups {
  readonly #disks: Pick<VmDisks, 'copy' | 'restore'>;
  readonly #folder: string;

  /** @param folder has a folder for each VM. */
  constructor(disks: Pick<VmDisks, 'copy' | 'restore'>, folder: string) {
    this.#disks = disks;
    this.#folder = folder;
  }

  /**
   * Makes the disk what the version that runs next needs it to be, wherever an earlier attempt ended. Nobody may have it,
   * unless all that is left to do is to remove a copy.
   *
   * @throws `disk_full`
   */
  async settle(
    vm: string,
    disk: MachineDisk,
    { current, next }: VmVersions,
    signal: AbortSignal,
  ): Promise<void> {
    const folder = join(this.#folder, vm);
    let isKept = false;
    for (const name of await namesIn(folder)) {
      const version = Number(BACKUP.exec(name)?.[1] ?? Number.NaN);
      if (Number.isNaN(version)) continue;
      const copy = join(folder, name);
      if (version === next?.version) {
        isKept = true;
        continue;
      }
      if (current.version < version) await this.#disks.restore([disk], copy, signal);
      await rm(copy, { recursive: true, force: true });
    }
    if (!next || isKept || next.configuration.diskBytes === 0) return;
    const copy = join(folder, `before-${next.version}`);
    const draft = `${copy}.draft`;
    await rm(draft, { recursive: true, force: true });
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await this.#disks.copy([disk], draft, signal);
    await rename(draft, copy);
  }
}
