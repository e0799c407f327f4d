/**
 * Templates on the disk: `<folder>/<key>/`, with
 *
 *     template.json   what it was made from, and how the other files must look
 *     memory          the guest's memory, as long as the configuration says; the holes in it take no room
 *     state           the rest of the machine: processors and devices, some 64 KiB
 *     kernel          the first part of the kernel's file: its header, which QEMU reads; the kernel itself is in the memory
 *
 * A template appears by a rename, after its last octet was written through to the disk.
 * @module
 */
import { createHash } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { type Clock, systemCode } from '../../../base/index.ts';

const FILES = { record: 'template.json', memory: 'memory', state: 'state', kernel: 'kernel' } as const;
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
}

const templateIn = (directory: string): Template => ({
  directory,
  memory: join(directory, FILES.memory),
  state: join(directory, FILES.state),
  kernel: join(directory, FILES.kernel),
});

export class TemplateStore {
  readonly #clock: Clock;
  readonly #folder: string;

  constructor(deps: { clock: Clock }, folder: string) {
    this.#clock = deps.clock;
    this.#folder = folder;
  }

  /** The template, whole as far as can be told without reading its memory. One that is not is removed. */
  async find(key: string): Promise<Template | undefined> {
    const template = templateIn(join(this.#folder, key));
    if (await isWhole(template)) {
      const nowSeconds = this.#clock.nowMs() / 1000;
      await utimes(join(template.directory, FILES.record), nowSeconds, nowSeconds);
      return template;
    }
    await this.discard(key);
    return undefined;
  }

  /** Begins a template: an empty memory of this length. Whoever fills the files ends with `finish`, or `abandon`. */
  async begin(key: string, memoryBytes: number): Promise<Template> {
    const template = templateIn(join(this.#folder, `.${key}`));
    await rm(template.directory, { recursive: true, force: true });
    await mkdir(template.directory, { recursive: true, mode: 0o700 });
    const memory = await open(template.memory, 'wx', 0o600);
    try {
      await memory.truncate(memoryBytes);
      // For QEMU, which is another user; the folder keeps all others out.
      await memory.chmod(0o666);
    } finally {
      await memory.close();
    }
    return template;
  }

  async finish(key: string, template: Template, kernelPath: string): Promise<void> {
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
    await writeFile(join(template.directory, FILES.record), JSON.stringify(record), { flush: true });
    await this.discard(key);
    await rename(template.directory, join(this.#folder, key));
    await this.#makeRoom();
  }

  abandon(template: Template): Promise<void> {
    return rm(template.directory, { recursive: true, force: true });
  }

  discard(key: string): Promise<void> {
    return rm(join(this.#folder, key), { recursive: true, force: true });
  }

  /** Removes what was begun by a process that died, templates of images that are no more, and what there is no room for. */
  async #makeRoom(): Promise<void> {
    const kept: { directory: string; bytes: number; usedMs: number }[] = [];
    for (const name of await readdir(this.#folder)) {
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
