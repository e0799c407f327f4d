/**
 * Snapshots of VMs: `<folder>/<VM>/snapshots/<label>/`, with what the hypervisor wrote of the machine and its disks, and
 *
 *     snapshot.json   of which version it is, and when it was taken; written last: without it, it is no snapshot
 * @module
 */
import { constants } from 'node:fs';
import { cp, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../base/index.ts';
import { namesIn } from '../platform/files/index.ts';
import { poolError } from './errors.ts';
import { type Snapshot, snapshotSchema } from './schema.ts';

/** Each may be as large as the VM's memory and its disks. */
const LIMIT_OF_VM = 16;
const RECORD = 'snapshot.json';
/** As the hypervisor calls it. */
const DISKS = 'disks';
const recordSchema = snapshotSchema.omit({ label: true, sizeBytes: true });

export class Snapshots {
  readonly #clock: Clock;
  readonly #folder: string;

  /** @param folder has a folder for each VM. */
  constructor(deps: { readonly clock: Clock }, folder: string) {
    this.#clock = deps.clock;
    this.#folder = folder;
  }

  /**
   * @param write writes the machine and its disks into a folder that is not there yet.
   * @throws `snapshot_conflict` when the label is taken or there are too many, and what `write` throws.
   */
  async take(
    vm: string,
    label: string,
    imageDigest: string,
    write: (folder: string) => Promise<void>,
  ): Promise<Snapshot> {
    const present = await this.list(vm);
    if (present.some((snapshot) => snapshot.label === label)) {
      throw poolError(
        'snapshot_conflict',
        `the VM ${vm} has a snapshot ${label}; remove it or choose another label`,
      );
    }
    if (present.length >= LIMIT_OF_VM) {
      throw poolError(
        'snapshot_conflict',
        `the VM ${vm} has ${LIMIT_OF_VM} snapshots, as many as may be; remove one`,
      );
    }
    const folder = this.#folderOf(vm, label);
    await rm(folder, { recursive: true, force: true });
    await mkdir(join(folder, '..'), { recursive: true, mode: 0o700 });
    try {
      const takenAtMs = this.#clock.nowMs();
      await write(folder);
      const record: Omit<Snapshot, 'label' | 'sizeBytes'> = { imageDigest, takenAtMs };
      await writeFile(join(folder, RECORD), JSON.stringify(record), { mode: 0o600, flush: true });
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
    return this.find(vm, label);
  }

  /** The oldest first. */
  async list(vm: string): Promise<Snapshot[]> {
    const labels = await namesIn(join(this.#folder, vm, 'snapshots'));
    const found = await Promise.all(labels.map((label) => this.#read(vm, label)));
    return found.filter((snapshot) => snapshot !== undefined).sort((a, b) => a.takenAtMs - b.takenAtMs);
  }

  /** @throws `snapshot_not_found` */
  async find(vm: string, label: string): Promise<Snapshot> {
    const snapshot = await this.#read(vm, label);
    if (snapshot) return snapshot;
    throw poolError('snapshot_not_found', `the VM ${vm} has no snapshot ${JSON.stringify(label)}`);
  }

  /** @throws `snapshot_not_found` */
  async remove(vm: string, label: string): Promise<void> {
    await this.find(vm, label);
    await rm(this.#folderOf(vm, label), { recursive: true, force: true });
  }

  /** Removes what is no snapshot: a process died over it. */
  async collect(vm: string): Promise<void> {
    const whole = new Set((await this.list(vm)).map(({ label }) => label));
    for (const label of await namesIn(join(this.#folder, vm, 'snapshots'))) {
      if (!whole.has(label)) await rm(this.#folderOf(vm, label), { recursive: true, force: true });
    }
  }

  /** Where the copies of its disks are. */
  disksOf(vm: string, label: string): string {
    return join(this.#folderOf(vm, label), DISKS);
  }

  /** Copies what the machine was, without its disks, to a folder that is not there: it appears whole. */
  async copyMachine(vm: string, label: string, to: string): Promise<void> {
    const from = this.#folderOf(vm, label);
    const draft = `${to}.draft`;
    await rm(draft, { recursive: true, force: true });
    const filter = (path: string) => path !== join(from, DISKS) && path !== join(from, RECORD);
    await cp(from, draft, { recursive: true, mode: constants.COPYFILE_FICLONE, filter });
    await rm(to, { recursive: true, force: true });
    await rename(draft, to);
  }

  /** @param label a DNS label, so that it names nothing but a folder. */
  #folderOf(vm: string, label: string): string {
    return join(this.#folder, vm, 'snapshots', label);
  }

  async #read(vm: string, label: string): Promise<Snapshot | undefined> {
    const folder = this.#folderOf(vm, label);
    try {
      const record = recordSchema.parse(JSON.parse(await readFile(join(folder, RECORD), 'utf8')));
      return { label, ...record, sizeBytes: await allocatedBytes(folder) };
    } catch {
      return undefined;
    }
  }
}

/** What a folder's files take of the disk. */
async function allocatedBytes(folder: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) bytes += (await stat(join(entry.parentPath, entry.name))).blocks * 512;
  }
  return bytes;
}
