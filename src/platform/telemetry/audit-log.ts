/**
 * What was asked of this machine by whom: JSON lines, appended to and never changed.
 *
 *     {"time": ISO 8601, "id", "who": "operator" | "origin:NAME", "what", "object", "outcome", …details}
 *
 * `outcome` is `begun`, then in a line of its own with the same `id`: `done`, or the code of the error that it ended with. A
 * `begun` without a second line was interrupted by a crash.
 * @module
 */
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import {
  type Clock,
  type Closable,
  hasCode,
  messageOf,
  type Random,
  randomId,
  systemCode,
} from '../../base/index.ts';
import type { Log } from './log.ts';

/** One thing that somebody has done. */
export interface AuditEntry {
  /** `operator`, or `origin:` and its name. */
  readonly who: string;
  /** A word for it: `exec`, `deploy`, `withdraw`, `stop`. */
  readonly what: string;
  /** On what: a VM's name. */
  readonly object: string;
  /** What else there is to know; never a secret. */
  readonly details?: Readonly<Record<string, string>>;
}

/** Of one text; what is longer is cut, and the cut shown. */
const TEXT_LIMIT = 1024;
const FILE_LIMIT_BYTES = 16 * 2 ** 20;
/** Beside the one that is written to: `audit.log.1` is the latest of them. */
const OLD_FILES = 4;
const MODE = 0o600;

export class AuditLog implements Closable {
  readonly #deps: { readonly clock: Clock; readonly random: Random; readonly log: Log };
  readonly #path: string;
  readonly #limitBytes: number;
  #file: FileHandle | undefined;
  #sizeBytes = 0;
  #turn: Promise<void> = Promise.resolve();

  constructor(
    deps: { readonly clock: Clock; readonly random: Random; readonly log: Log },
    path: string,
    limitBytes = FILE_LIMIT_BYTES,
  ) {
    this.#deps = deps;
    this.#path = path;
    this.#limitBytes = limitBytes;
  }

  /** Does `work` between a line that says that it began and one that says how it ended. */
  async audited<Result>(entry: AuditEntry, work: () => Promise<Result>): Promise<Result> {
    const id = randomId(this.#deps.random, 12);
    await this.#record(id, entry, 'begun');
    try {
      const result = await work();
      await this.#record(id, entry, 'done');
      return result;
    } catch (error) {
      await this.#record(id, entry, hasCode(error) ? error.code : 'internal');
      throw error;
    }
  }

  /** One line for what is over at once, such as a login that was refused. */
  record(entry: AuditEntry, outcome: string): Promise<void> {
    return this.#record(randomId(this.#deps.random, 12), entry, outcome);
  }

  async close(): Promise<void> {
    await this.#turn;
    await this.#file?.close();
    this.#file = undefined;
  }

  /** Resolves when the line is in the file. That it cannot be written is logged, and keeps nobody from ending a machine. */
  #record(id: string, entry: AuditEntry, outcome: string): Promise<void> {
    const { clock, log } = this.#deps;
    const { details, ...rest } = entry;
    const record = { time: new Date(clock.nowMs()).toISOString(), id, ...rest, outcome, ...details };
    const line = `${JSON.stringify(record, (_key, value: unknown) => (typeof value === 'string' ? short(value) : value))}\n`;
    this.#turn = this.#turn
      .then(() => this.#append(line))
      .catch((error: unknown) => {
        log.error({ file: this.#path, reason: messageOf(error), lost: record }, 'audit log not written');
      });
    return this.#turn;
  }

  async #append(line: string): Promise<void> {
    if (!this.#file) {
      this.#file = await open(this.#path, 'a', MODE);
      this.#sizeBytes = (await this.#file.stat()).size;
    }
    if (this.#sizeBytes > 0 && this.#sizeBytes + Buffer.byteLength(line) > this.#limitBytes)
      await this.#rotate();
    await this.#file.writeFile(line);
    this.#sizeBytes += Buffer.byteLength(line);
  }

  async #rotate(): Promise<void> {
    await this.#file?.close();
    this.#file = undefined;
    await rm(`${this.#path}.${OLD_FILES}`, { force: true });
    for (let number = OLD_FILES - 1; number >= 1; number -= 1) {
      await renameIfThere(`${this.#path}.${number}`, `${this.#path}.${number + 1}`);
    }
    await renameIfThere(this.#path, `${this.#path}.1`);
    this.#file = await open(this.#path, 'a', MODE);
    this.#sizeBytes = 0;
  }
}

const short = (text: string): string => (text.length <= TEXT_LIMIT ? text : `${text.slice(0, TEXT_LIMIT)}…`);

async function renameIfThere(from: string, to: string): Promise<void> {
  await rename(from, to).catch((error: unknown) => {
    if (systemCode(error) !== 'ENOENT') throw error;
  });
}
