import { constants } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { type Clock, type Closable, defineErrors, messageOf, systemCode } from '../../base/index.ts';
import type { Log } from '../../platform/telemetry/index.ts';
import { type AccessLogFormat, accessLogLine, type Passage } from './access-log-line.ts';
import type { Exchange } from './data-plane.ts';

const accessLogError = defineErrors({ access_log_unusable: 500 });

export interface AccessLogOptions {
  readonly file: string;
  readonly format: AccessLogFormat;
}

export interface AccessLogDeps {
  readonly clock: Clock;
  readonly log: Omit<Log, 'child'>;
  /** Told how many lines were lost. */
  readonly observeLogLoss?: ((lines: number) => void) | undefined;
}

const BATCH_BYTES = 64 * 1024;
const BATCH_MS = 500;
/** What a slow disk may hold up; further lines are dropped. */
const QUEUE_BYTES = 4 * 2 ** 20;
const CLOSE_TIMEOUT_MS = 2000;
const MODE = 0o640;

/**
 * A file with a line for each request. Several processes append to the same one: each batch is one write with `O_APPEND`, of
 * whole lines, so lines never mix. Nobody waits for the disk: what it does not take is dropped and counted.
 */
export class AccessLog implements Closable {
  readonly #deps: AccessLogDeps;
  readonly #options: AccessLogOptions;
  #file: FileHandle;
  #lines: string[] = [];
  #queuedBytes = 0;
  #timer: Disposable | undefined;
  #writing: Promise<void> | undefined;
  /** The last write ended in the middle of a line. */
  #isCut = false;
  #isFailing = false;
  #lost = 0;
  #checking: Promise<void> | undefined;
  #isClosed = false;

  private constructor(deps: AccessLogDeps, options: AccessLogOptions, file: FileHandle) {
    this.#deps = deps;
    this.#options = options;
    this.#file = file;
  }

  /** @throws `access_log_unusable` */
  static async open(deps: AccessLogDeps, options: AccessLogOptions): Promise<AccessLog> {
    return new AccessLog(deps, options, await openForAppending(options.file));
  }

  add(exchange: Exchange, passage: Passage): void {
    if (this.#isClosed) return;
    if (this.#queuedBytes >= QUEUE_BYTES) {
      this.#lost += 1;
      this.#tickLater();
      return;
    }
    const line = accessLogLine(this.#options.format, exchange, passage, this.#deps.clock.nowMs());
    this.#lines.push(line);
    this.#queuedBytes += line.length;
    if (this.#queuedBytes >= BATCH_BYTES) this.#write();
    else this.#tickLater();
  }

  /** Goes on in a new file when the old one was renamed or removed (logrotate). Resolves when that is done. */
  checkFile(): Promise<void> {
    this.#checking ??= this.#reopen().finally(() => {
      this.#checking = undefined;
    });
    return this.#checking;
  }

  /** Writes what is left, for at most two seconds. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#timer?.[Symbol.dispose]();
    const timeout = Promise.withResolvers<void>();
    const timer = this.#deps.clock.after(CLOSE_TIMEOUT_MS, timeout.resolve);
    await Promise.race([this.#drain(), timeout.promise]);
    timer[Symbol.dispose]();
  }

  async #drain(): Promise<void> {
    await this.#checking;
    while (this.#writing || this.#lines.length > 0) {
      this.#write();
      await this.#writing;
    }
    this.#tellLoss();
    await this.#file.close().catch(() => undefined);
  }

  #tickLater(): void {
    this.#timer ??= this.#deps.clock.after(BATCH_MS, () => {
      this.#timer = undefined;
      this.#tellLoss();
      this.#write();
    });
  }

  /** One batch at a time; what comes meanwhile is the next. */
  #write(): void {
    if (this.#writing || this.#lines.length === 0) return;
    const lines = this.#lines;
    this.#lines = [];
    this.#queuedBytes = 0;
    this.#writing = this.#append(lines).then(() => {
      this.#writing = undefined;
      if (this.#queuedBytes >= BATCH_BYTES) this.#write();
    });
  }

  async #append(lines: readonly string[]): Promise<void> {
    const batch = Buffer.from(`${this.#isCut ? '\n' : ''}${lines.join('')}`);
    try {
      const { bytesWritten } = await this.#file.write(batch, 0, batch.length);
      this.#isCut = bytesWritten > 0 ? batch[bytesWritten - 1] !== LF : this.#isCut;
      if (bytesWritten < batch.length) this.#lost += countLines(batch.subarray(bytesWritten));
      else this.#isFailing = false;
    } catch (error) {
      this.#lost += lines.length;
      if (!this.#isFailing) {
        this.#deps.log.error(
          { file: this.#options.file, reason: messageOf(error) },
          'access log not written',
        );
      }
      this.#isFailing = true;
    }
  }

  #tellLoss(): void {
    if (this.#lost === 0) return;
    this.#deps.observeLogLoss?.(this.#lost);
    this.#lost = 0;
  }

  async #reopen(): Promise<void> {
    if (this.#isClosed) return;
    const { file: path } = this.#options;
    try {
      const [own, current] = await Promise.all([this.#file.stat(), stat(path).catch(nothingThere)]);
      if (current && current.ino === own.ino && current.dev === own.dev) return;
      const fresh = await openForAppending(path);
      while (this.#writing) await this.#writing;
      const old = this.#file;
      this.#file = fresh;
      this.#isCut = false;
      await old.close();
    } catch (error) {
      this.#deps.log.error({ file: path, reason: messageOf(error) }, 'access log not opened anew');
    }
  }
}

const LF = 0x0a;

/** Without waiting, as a named pipe would have it. */
async function openForAppending(path: string): Promise<FileHandle> {
  const { O_APPEND, O_CREAT, O_WRONLY, O_NONBLOCK } = constants;
  const file = await open(path, O_APPEND | O_CREAT | O_WRONLY | O_NONBLOCK, MODE).catch((error: unknown) => {
    throw accessLogError(
      'access_log_unusable',
      `cannot write the access log ${path}: ${messageOf(error)}`,
      error,
    );
  });
  if ((await file.stat()).isFile()) return file;
  await file.close();
  throw accessLogError('access_log_unusable', `the access log ${path} is no file`);
}

const nothingThere = (error: unknown): undefined => {
  if (systemCode(error) !== 'ENOENT') throw error;
};

function countLines(octets: Buffer): number {
  let count = 0;
  for (const octet of octets) if (octet === LF) count += 1;
  return count;
}
