import { constants } from 'node:fs';
import { lstat, open } from 'node:fs/promises';
import type { IncomingMessage, OutgoingHttpHeaders } from 'node:http';
import { join } from 'node:path';
import { type Clock, CodedError, messageOf } from '../../base/index.ts';
import { poolError } from '../errors.ts';
import { CheckedClient, type Resolve } from './checked-client.ts';
import { Patience } from './patience.ts';
import { type ServerPolicy, serverOfOperator } from './server-policy.ts';

export interface ReadOptions {
  readonly signal: AbortSignal;
  /** As many octets as whoever reads will take: a source that knows that there are more need not begin. */
  readonly limitBytes: number;
}

/** Where the files of one image come from. Another carrier (the swarm) joins by implementing this. */
export interface ImageSource {
  /** For messages: the URL or the directory. */
  readonly description: string;
  /**
   * The octets of one of the image's files.
   *
   * @throws `image_not_found` when the source has no such file, `image_fetch_failed` when it cannot be had now.
   */
  read(file: string, options: ReadOptions): AsyncIterable<Uint8Array>;
}

/**
 * An image in a directory of this machine, named by its real path. Its files must be regular files: no link is followed,
 * and no device or pipe is opened.
 */
export function directorySource(directory: string): ImageSource {
  return {
    description: directory,
    async *read(file, { signal }) {
      const path = join(directory, file);
      const unreadable = (cause: unknown) => {
        throw poolError('image_not_found', `${path} cannot be read: ${messageOf(cause)}`, cause);
      };
      const irregular = () => poolError('image_invalid', `${path} is not a regular file`);
      // To open a device can have an effect of its own.
      if (!(await lstat(path).catch(unreadable)).isFile()) throw irregular();
      const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
        unreadable,
      );
      try {
        if (!(await handle.stat()).isFile()) throw irregular();
        for await (const chunk of handle.createReadStream({ autoClose: false, highWaterMark: 1 << 20 })) {
          signal.throwIfAborted();
          yield chunk as Uint8Array;
        }
      } finally {
        await handle.close();
      }
    },
  };
}

/** Given to `urlSource` by whoever does not trust the one who named the URL. */
export interface UrlSourceOptions {
  /** Any server of the Internet and the named one when absent: for what the operator types. */
  readonly policy?: ServerPolicy;
  readonly resolve?: Resolve;
}

/** An image on a web server: its files stand beside each other below `url`. Redirects are followed where `policy` lets. */
export function urlSource(clock: Clock, url: URL, options: UrlSourceOptions = {}): ImageSource {
  const base = new URL(url);
  if (!base.pathname.endsWith('/')) base.pathname += '/';
  // One client for all files of the image: what its names led to at first is where they lead to the end.
  const client = new CheckedClient(options.policy ?? serverOfOperator(url), options.resolve);
  return {
    description: url.href,
    async *read(file, { signal, limitBytes }) {
      const fileUrl = new URL(file, base);
      using patience = new Patience(clock);
      const either = AbortSignal.any([signal, patience.signal]);
      let part: FilePart = { doneBytes: 0 };
      for (let resumptions = 0; ; resumptions += 1) {
        const { doneBytes } = part;
        patience.wait();
        try {
          const answer = await client.get(fileUrl, either, rangeHeaders(part));
          checkAnswer(answer, fileUrl, limitBytes, doneBytes);
          part = { doneBytes, validator: strongValidator(answer) };
          for await (const chunk of answer as AsyncIterable<Uint8Array>) {
            patience.received(chunk.length);
            part = { ...part, doneBytes: part.doneBytes + chunk.length };
            yield chunk;
            patience.wait();
          }
          return;
        } catch (cause) {
          if (cause instanceof CodedError) throw cause;
          signal.throwIfAborted();
          const hasMoved = part.validator !== undefined && part.doneBytes > doneBytes;
          if (hasMoved && !patience.signal.aborted && resumptions < RESUMPTION_LIMIT) continue;
          const reason = messageOf(patience.signal.aborted ? patience.signal.reason : cause);
          throw poolError('image_fetch_failed', `${fileUrl.href} could not be fetched: ${reason}`, cause);
        } finally {
          patience.pause();
        }
      }
    },
  };
}

/** How often a file whose connection breaks is gone on with, before the whole image is tried anew later. */
const RESUMPTION_LIMIT = 10;

/** What there is of a file, and what tells whether the rest is of the same one. */
interface FilePart {
  readonly doneBytes: number;
  readonly validator?: string | undefined;
}

/** A weak validator does not promise the same octets (RFC 9110 §13.1.5). */
const strongValidator = ({ headers: { etag } }: IncomingMessage): string | undefined =>
  etag?.startsWith('"') ? etag : undefined;

const rangeHeaders = ({ doneBytes, validator }: FilePart): OutgoingHttpHeaders =>
  doneBytes > 0 && validator !== undefined ? { range: `bytes=${doneBytes}-`, 'if-range': validator } : {};

/** Reads no body of an answer that cannot be the file from `fromBytes` on. */
function checkAnswer(answer: IncomingMessage, url: URL, limitBytes: number, fromBytes: number): void {
  const { statusCode = 0, headers } = answer;
  try {
    const expected = fromBytes > 0 ? 206 : 200;
    if (statusCode !== expected) {
      const code = statusCode === 404 || statusCode === 410 ? 'image_not_found' : 'image_fetch_failed';
      throw poolError(code, `${url.href} answered ${statusCode}; expected ${expected}`);
    }
    if (fromBytes > 0 && !headers['content-range']?.startsWith(`bytes ${fromBytes}-`)) {
      throw poolError('image_fetch_failed', `${url.href} did not go on where its connection broke`);
    }
    const encoding = headers['content-encoding'] ?? 'identity';
    if (encoding !== 'identity') {
      throw poolError('image_fetch_failed', `${url.href} came as ${encoding}, which was not asked for`);
    }
    const length = fromBytes + Number(headers['content-length'] ?? 0);
    if (length > limitBytes) {
      throw poolError(
        'image_invalid',
        `${url.href} announces ${length} octets, more than the ${limitBytes} that may come`,
      );
    }
  } catch (error) {
    answer.destroy();
    throw error;
  }
}
