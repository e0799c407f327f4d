/**
 * Templates on the disk: `<folder>/<key>/`, with
 *
 *     template.json   what it was made from, and how the other files must look
 *     memory          the guest's memory, as long as the configuration says; the holes in it take no room
 *     state           the rest of the machine: processors and devices, some 64 KiB
 *     kernel          the first part of the kernel's file: its header, which QEMU reads; the kernel itself is in the memory
 *     console.log     what the guest had said until then
 *
 * It may be used as soon as it is whole. For the next process it is there once all of it was written through to the disk: the
 * record comes last, by a rename.
 * @module
 */
import { createHash } from 'node:crypto';
import { mkdir, open, readFile, rename, rm, stat, statfs, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { type Clock, systemCode } from '../../../base/index.ts';
import { namesIn } from '../../../platform/files/index.ts';
import { poolError } from '../../errors.ts';

const FILES = {
  record: 'template.json',
  memory: 'memory',
  state: 'state',
  kernel: 'kernel',
  console: 'console.log',
} as const;
/** All templates together. What was used longest ago goes first. */
const ROOM_BYTES = 4 * 2 ** 30;

const recordSchema = z.object({
  /** Of the image: without it the template is of no use. */
  kernelPath: z.string(),
  stateSha256: z.string(),
  memoryBytes: z.number(),
  /**
   * When the memory's file was last written to. QEMU (before 8.2) wants to open it for writing though it changes copies
   * only; one that was taken over and did write is told by this, which nobody but root can set back.
   */
  memoryChangedMs: z.number(),
});

/** The paths of a template's files. */
export interface Template {
  readonly directory: string;
  readonly memory: string;
  readonly state: string;
  readonly kernel: string;
  readonly console: string;
}

const templateIn = (directory: string): Template => ({
  directory,
  memory: join(directory, FILES.memory),
  state: join(directory, FILES.state),
  kernel: join(directory, FILES.kernel),
  console: join(directory, FILES.console),
});

export class TemplateStore {
  readonly #clock: Clock;
  readonly #folder: string;
  /** Those that have no record yet. */
  readonly #unrecorded = new Map<string, { state: 'begun' | 'usable' | 'discarded' }>();

  constructor(deps: { clock: Clock }, folder: string) {
    this.#clock = deps.clock;
    this.#folder = folder;
  }

  /** The template, whole as far as can be told without reading its memory. One that is not makes room for the next. */
  async find(key: string): Promise<Template | undefined> {
    const template = templateIn(join(this.#folder, key));
    const unrecorded = this.#unrecorded.get(key);
    if (unrecorded) return unrecorded.state === 'usable' ? template : undefined;
    if (await isWhole(template)) {
      const nowSeconds = this.#clock.nowMs() / 1000;
      await utimes(join(template.directory, FILES.record), nowSeconds, nowSeconds);
      return template;
    }
    // It is not removed here: another start may just have begun the next in its place.
    return undefined;
  }

  /**
   * Begins a template: an empty memory of this length. Whoever fills the files ends with `keep`, or `discard`. `undefined`
   * when that is being done already.
   *
   * @throws `disk_full` when there is no room for the memory twice: guests touch less, and others need room too.
   */
  async begin(key: string, memoryBytes: number): Promise<Template | undefined> {
    if (this.#unrecorded.has(key)) return undefined;
    this.#unrecorded.set(key, { state: 'begun' });
    try {
      const template = templateIn(join(this.#folder, key));
      await rm(template.directory, { recursive: true, force: true });
      await mkdir(template.directory, { recursive: true, mode: 0o700 });
      await this.#checkRoom(2 * memoryBytes);
      const memory = await open(template.memory, 'wx', 0o600);
      try {
        await memory.truncate(memoryBytes);
        // For QEMU, which is another user; the folder keeps all others out.
        await memory.chmod(0o666);
      } finally {
        await memory.close();
      }
      return template;
    } catch (error) {
      await this.discard(key);
      throw error;
    }
  }

  /**
   * From now on the template may be used; resolves when the next process will find it, too.
   *
   * @param written when nobody writes to its files any more.
   */
  async keep(key: string, template: Template, kernelPath: string, written: Promise<void>): Promise<void> {
    const keeping: { state: 'usable' | 'discarded' } = { state: 'usable' };
    this.#unrecorded.set(key, keeping);
    const failure = await written
      .then(() => this.#record(template, kernelPath))
      .catch((error: unknown) => ({ error }));
    this.#unrecorded.delete(key);
    // One that was thrown away meanwhile has no files, or those that were just written.
    if (failure || keeping.state === 'discarded') await this.discard(key);
    if (failure && keeping.state !== 'discarded') throw failure.error;
    await this.collect();
  }

  async discard(key: string): Promise<void> {
    const unrecorded = this.#unrecorded.get(key);
    // Another may be begun only when nobody writes into this one's folder any more.
    if (unrecorded?.state === 'usable') unrecorded.state = 'discarded';
    await rm(join(this.#folder, key), { recursive: true, force: true });
    if (unrecorded?.state === 'begun') this.#unrecorded.delete(key);
  }

  async #checkRoom(wantedBytes: number): Promise<void> {
    const { bavail, bsize } = await statfs(this.#folder);
    if (bavail * bsize >= wantedBytes) return;
    throw poolError('disk_full', `no room for a template in ${this.#folder}`);
  }

  async #record(template: Template, kernelPath: string): Promise<void> {
    for (const path of [template.memory, template.state, template.kernel]) {
      const handle = await open(path, 'r');
      await handle.sync();
      await handle.close();
    }
    const { size, ctimeMs } = await stat(template.memory);
    const record: z.infer<typeof recordSchema> = {
      kernelPath,
      stateSha256: digestOf(await readFile(template.state)),
      memoryBytes: size,
      memoryChangedMs: ctimeMs,
    };
    const path = join(template.directory, FILES.record);
    await writeFile(`${path}.new`, JSON.stringify(record), { flush: true });
    await rename(`${path}.new`, path);
  }

  /** Removes what was begun by a process that died, templates of images that are no more, and what there is no room for. */
  async collect(): Promise<void> {
    const kept: { directory: string; bytes: number; usedMs: number }[] = [];
    for (const name of await namesIn(this.#folder)) {
      if (this.#unrecorded.has(name)) continue;
      const directory = join(this.#folder, name);
      const found = await lookAt(directory);
      if (found) kept.push({ directory, ...found });
      else await rm(directory, { recursive: true, force: true });
    }
    let bytes = 0;
    for (const template of kept.sort((a, b) => b.usedMs - a.usedMs)) {
      bytes += template.bytes;
      if (bytes > ROOM_BYTES) await rm(template.directory, { recursive: true, force: true });
    }
  }
}

async function lookAt(directory: string): Promise<{ bytes: number; usedMs: number } | undefined> {
  try {
    const record = await readRecord(directory);
    await stat(record.kernelPath);
    const { blocks } = await stat(join(directory, FILES.memory));
    return { bytes: blocks * 512, usedMs: (await stat(join(directory, FILES.record))).mtimeMs };
  } catch {
    return undefined;
  }
}

async function isWhole({ directory, memory, state }: Template): Promise<boolean> {
  try {
    const record = await readRecord(directory);
    const { size, ctimeMs } = await stat(memory);
    const isUnchanged = size === record.memoryBytes && ctimeMs === record.memoryChangedMs;
    return isUnchanged && digestOf(await readFile(state)) === record.stateSha256;
  } catch (error) {
    if (systemCode(error) === undefined || systemCode(error) === 'ENOENT') return false;
    throw error;
  }
}

const readRecord = async (directory: string) =>
  recordSchema.parse(JSON.parse(await readFile(join(directory, FILES.record), 'utf8')));

const digestOf = (octets: Buffer): string => createHash('sha256').update(octets).digest('hex');
