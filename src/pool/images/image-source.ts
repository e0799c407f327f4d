import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, CodedError, messageOf } from '../../base/index.ts';
import { poolError } from '../errors.ts';

/** Where the files of one image come from. Another carrier (the swarm) joins by implementing this. */
export interface ImageSource {
  /** For messages: the URL or the directory. */
  readonly description: string;
  /**
   * The octets of one of the image's files.
   *
   * @throws `image_not_found` when the source has no such file, `image_fetch_failed` when it cannot be had now.
   */
  read(file: string, signal: AbortSignal): AsyncIterable<Uint8Array>;
}

/** An image in a directory of this machine. Its files must be regular files: no link is followed. */
export function directorySource(directory: string): ImageSource {
  return {
    description: directory,
    async *read(file, signal) {
      const path = join(directory, file);
      const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
        (cause: unknown) => {
          throw poolError('image_not_found', `${path} cannot be read: ${messageOf(cause)}`, cause);
        },
      );
      try {
        if (!(await handle.stat()).isFile())
          throw poolError('image_invalid', `${path} is not a regular file`);
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

/** How long a server may be silent before a fetch is given up. */
const IDLE_TIMEOUT_MS = 15_000;

/** An image on a web server: its files stand beside each other below `url`. Redirects are not followed. */
export function urlSource(clock: Clock, url: URL): ImageSource {
  const base = new URL(url);
  if (!base.pathname.endsWith('/')) base.pathname += '/';
  return {
    description: url.href,
    async *read(file, signal) {
      const fileUrl = new URL(file, base);
      const silence = new AbortController();
      const expectMore = () =>
        clock.after(IDLE_TIMEOUT_MS, () => silence.abort(new Error('the server is silent')));
      let timer = expectMore();
      try {
        const response = await fetch(fileUrl, {
          signal: AbortSignal.any([signal, silence.signal]),
          redirect: 'manual',
          headers: { 'accept-encoding': 'identity', 'user-agent': 'orilla' },
        });
        if (response.status !== 200) {
          await response.body?.cancel();
          const code =
            response.status === 404 || response.status === 410 ? 'image_not_found' : 'image_fetch_failed';
          throw poolError(code, `${fileUrl.href} answered ${response.status}; expected 200`);
        }
        for await (const chunk of response.body ?? []) {
          // What takes the octets may be slow: that is not the server's silence.
          timer[Symbol.dispose]();
          yield chunk;
          timer = expectMore();
        }
      } catch (cause) {
        if (cause instanceof CodedError) throw cause;
        signal.throwIfAborted();
        const reason = silence.signal.aborted ? messageOf(silence.signal.reason) : rootMessage(cause);
        throw poolError('image_fetch_failed', `${fileUrl.href} could not be fetched: ${reason}`, cause);
      } finally {
        timer[Symbol.dispose]();
      }
    },
  };
}

/** `fetch` says "fetch failed" and hides what happened in the cause. */
const rootMessage = (error: unknown): string =>
  error instanceof Error && error.cause instanceof Error ? rootMessage(error.cause) : messageOf(error);
