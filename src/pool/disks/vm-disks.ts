/**
 * The disks of the VMs, below one folder:
 *
 *     <VM's name>/data.raw                                  its own disk, kept as long as the VM
 *     <VM's name>/<SHA-256 of its image>/<n>-<size>.qcow2   what it wrote to the image's n-th disk of <size> octets
 *
 * The file system is the whole truth. A file appears whole, and takes of the disk what was written to it.
 * @module
 */
import { mkdir, open, rename, rm, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { systemCode } from '../../base/index.ts';
import { namesIn } from '../../platform/files/index.ts';
import { poolError } from '../errors.ts';
import type { StoredImage } from '../images/image-store.ts';
import { runQemuImg } from '../images/qemu-img.ts';
import type { Configuration } from '../schema.ts';
import { copyDisks, flushCopies, restoreDisks } from './disk-copy.ts';
import { checkDiskSpace, type Growing } from './disk-space.ts';
import type { MachineDisk } from './machine-disk.ts';

const DATA_DISK = 'data.raw';
const OVERLAY = /^\d-(\d{1,15})\.qcow2$/;
/** An overlay into which nothing was written yet has some 200 KiB. */
const EMPTY_OVERLAY_LIMIT_BYTES = 16 * 2 ** 20;

export class VmDisks {
  readonly #folder: string;
  /** What is promised to one VM must be seen by the next. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(folder: string) {
    this.#folder = folder;
  }

  /**
   * The VM's disks in the order in which its guest sees them: its own first, then those of its image. What is missing is
   * made, and its own grows to what the configuration says. It never shrinks: a version with less sees all of it, so that
   * a VM can go back to the version before.
   *
   * @throws `disk_full` when what the disks may grow to has no room, `hypervisor_missing` without `qemu-img`.
   */
  async prepare(
    name: string,
    image: StoredImage,
    { diskBytes }: Configuration,
    signal: AbortSignal,
  ): Promise<readonly MachineDisk[]> {
    const directory = join(this.#folder, name);
    const own = diskBytes > 0 ? [await dataDisk(directory, diskBytes)] : [];
    const disks = [...own, ...overlays(directory, image)];
    const turn = this.#turn.then(() => this.#make(disks, signal));
    this.#turn = turn.catch(() => undefined);
    await turn;
    return disks;
  }

  /** The VM's own disk, once it is there. */
  async own(name: string): Promise<MachineDisk | undefined> {
    const disk = await dataDisk(join(this.#folder, name), 0);
    return disk.sizeBytes > 0 ? disk : undefined;
  }

  /** Copies disks that no machine writes to into a folder, from which `restore` brings them back. @throws `disk_full` */
  async copy(disks: readonly MachineDisk[], folder: string, signal: AbortSignal): Promise<void> {
    await copyDisks(disks, folder, signal);
    await flushCopies(disks, folder);
  }

  /** @throws `disk_full` */
  restore(disks: readonly MachineDisk[], folder: string, signal: AbortSignal): Promise<void> {
    return restoreDisks(disks, folder, signal);
  }

  /** Removes all that a VM wrote. */
  remove(name: string): Promise<void> {
    return rm(join(this.#folder, name), { recursive: true, force: true });
  }

  /** Removes what the VM wrote to disks of images that are none of these: no version of it can come back to them. */
  async keepOverlays(name: string, digests: ReadonlySet<string>): Promise<void> {
    const directory = join(this.#folder, name);
    for (const entry of await namesIn(directory)) {
      if (entry === DATA_DISK || digests.has(`sha256:${entry}`)) continue;
      await rm(join(directory, entry), { recursive: true, force: true });
    }
  }

  /** Removes what nobody wants. @param wanted the VMs that there are, and the images that their versions run from. */
  async collect(wanted: ReadonlyMap<string, ReadonlySet<string>>): Promise<void> {
    for (const name of await namesIn(this.#folder)) {
      const digests = wanted.get(name);
      if (digests) await this.keepOverlays(name, digests);
      else await this.remove(name);
    }
  }

  /** What all disks together take now. */
  async usedBytes(): Promise<number> {
    return (await this.#all()).reduce((sum, { allocatedBytes }) => sum + allocatedBytes, 0);
  }

  async #make(disks: readonly MachineDisk[], signal: AbortSignal): Promise<void> {
    const wanted = await Promise.all(disks.map(growing));
    // What was promised once stays so: a VM that ran here is not refused because others have filled the disk.
    const missing = disks.filter((disk, index) => wanted[index]?.presentBytes !== disk.sizeBytes);
    if (missing.length === 0) return;
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const paths = new Set(disks.map(({ path }) => path));
    const others = (await this.#all()).filter(({ path }) => !paths.has(path));
    const { bavail, bsize } = await statfs(this.#folder);
    checkDiskSpace(wanted, others, bavail * bsize);
    try {
      for (const disk of missing) await (disk.backing ? makeOverlay(disk, signal) : makeDataDisk(disk));
    } catch (error) {
      if (systemCode(error) !== 'ENOSPC') throw error;
      throw poolError('disk_full', `no room in ${this.#folder}`, error);
    }
  }

  async #all(): Promise<Growing[]> {
    const found: Growing[] = [];
    for (const name of await namesIn(this.#folder)) {
      const directory = join(this.#folder, name);
      for (const entry of await namesIn(directory)) {
        if (entry === DATA_DISK) {
          const path = join(directory, entry);
          found.push(await growing({ path, format: 'raw', sizeBytes: await sizeOf(path) }));
          continue;
        }
        for (const file of await namesIn(join(directory, entry))) {
          const path = join(directory, entry, file);
          const sizeBytes = Number(OVERLAY.exec(file)?.[1] ?? 0);
          found.push(await growing({ path, format: 'qcow2', sizeBytes }));
        }
      }
    }
    return found;
  }
}

async function dataDisk(directory: string, diskBytes: number): Promise<MachineDisk> {
  const path = join(directory, DATA_DISK);
  return { path, format: 'raw', sizeBytes: Math.max(diskBytes, await sizeOf(path)) };
}

/** Named by their sizes: what is in their headers the guest's QEMU might have changed. */
function overlays(directory: string, { digest, manifest, diskPaths }: StoredImage): MachineDisk[] {
  const ofImage = join(directory, digest.replace(/^sha256:/, ''));
  return (manifest.disks ?? []).map(({ format, virtualSizeBytes }, index) => ({
    path: join(ofImage, `${index}-${virtualSizeBytes}.qcow2`),
    format: 'qcow2',
    sizeBytes: virtualSizeBytes,
    backing: { path: diskPaths[index] ?? '', format },
  }));
}

async function makeDataDisk({ path, sizeBytes }: MachineDisk): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await using handle = await open(path, 'a', 0o600);
  await handle.truncate(sizeBytes);
  await handle.sync();
}

/** The path of what it lies over is in it for people only: QEMU is told by us, and does not look there. */
async function makeOverlay({ path, sizeBytes, backing }: MachineDisk, signal: AbortSignal): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const fresh = `${path}.new`;
  await rm(fresh, { force: true });
  const under = backing ? ['-F', backing.format, '-b', backing.path] : [];
  const args = ['create', '-q', '-u', '-f', 'qcow2', ...under, fresh, String(sizeBytes)];
  await runQemuImg(args, EMPTY_OVERLAY_LIMIT_BYTES, signal);
  await using handle = await open(fresh);
  await handle.sync();
  await rename(fresh, path);
}

/** With how large it is for its guest as it is now; 0 when it is not there. */
async function growing({
  path,
  format,
  sizeBytes,
}: MachineDisk): Promise<Growing & { readonly presentBytes: number }> {
  try {
    const { size, blocks } = await stat(path);
    return {
      path,
      sizeBytes,
      allocatedBytes: blocks * 512,
      presentBytes: format === 'raw' ? size : sizeBytes,
    };
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
    return { path, sizeBytes, allocatedBytes: 0, presentBytes: 0 };
  }
}

const sizeOf = (path: string): Promise<number> =>
  stat(path).then(
    ({ size }) => size,
    (error: unknown) => {
      if (systemCode(error) === 'ENOENT') return 0;
      throw error;
    },
  );
