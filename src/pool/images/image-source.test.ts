import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { writeImageFolder } from '../../../test/support/image-folder.ts';
import { ManualClock, systemRandom } from '../../base/index.ts';
import { urlSource } from './image-source.ts';
import { ImageStore } from './image-store.ts';

const FILES = { vmlinuz: 'a kernel', 'base.cpio': 'a layer' };

let folder: string;
let stored: string;
let digest: string;
let clock: ManualClock;
let store: ImageStore;
let server: Server;
let base: URL;
let asked: string[];
/** What the server does instead of sending the file, by the file's name. */
let instead: Record<string, (response: ServerResponse) => void>;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'orilla-image-source-'));
  stored = join(folder, 'images');
  digest = await writeImageFolder(join(folder, 'provided'), { name: 'photos', files: FILES });
  clock = new ManualClock();
  store = await ImageStore.open({ clock, random: systemRandom }, stored);
  asked = [];
  instead = {};
  const serve: RequestListener = async ({ url = '' }, response) => {
    asked.push(url);
    const name = url.replace('/images/photos/', '');
    const behaviour = instead[name];
    if (behaviour) behaviour(response);
    else response.end(await readFile(join(folder, 'provided', name)));
  };
  server = createServer(serve).listen(0, '127.0.0.1');
  await once(server, 'listening');
  base = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/images/photos`);
});
afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
  rmSync(folder, { recursive: true });
});

const bring = (signal = new AbortController().signal) =>
  store.import(urlSource(clock, base), { signal, expectedDigest: digest });

async function refused(code: string, message: RegExp): Promise<void> {
  await expect(bring()).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  expect(await readdir(stored)).toEqual([]);
  expect(clock.pendingTimers).toBe(0);
}

describe('an image on a web server', () => {
  test('is brought in whole, from below its URL [gateway G5]', async () => {
    const image = await bring();
    expect(image).toMatchObject({ digest, name: 'photos' });
    expect(await readFile(image.kernelPath, 'utf8')).toBe('a kernel');
    expect(asked).toEqual(['image.json', 'vmlinuz', 'base.cpio'].map((name) => `/images/photos/${name}`));
    expect(clock.pendingTimers).toBe(0);
  });

  test('may be named with or without the last slash', async () => {
    base.pathname += '/';
    await bring();
    expect(asked[0]).toBe('/images/photos/image.json');
  });

  test('shares a file with one that is stored, which is not fetched again', async () => {
    await bring();
    asked = [];
    digest = await writeImageFolder(join(folder, 'provided'), {
      files: { ...FILES, 'base.cpio': 'another layer' },
    });
    await bring();
    expect(asked).toEqual(['/images/photos/image.json', '/images/photos/base.cpio']);
  });

  test('that changed since its digest was told is refused, and none of its files is fetched', async () => {
    await writeImageFolder(join(folder, 'provided'), { name: 'other' });
    await refused('image_digest_mismatch', /expected sha256:/);
    expect(asked).toHaveLength(1);
  });

  test('with a file of the right length and the wrong content is refused', async () => {
    instead['vmlinuz'] = (response) => response.end('a kernal');
    await refused('image_digest_mismatch', /^vmlinuz of http:.* has SHA-256/);
  });

  test('with a file that is too short is refused as truncated', async () => {
    instead['vmlinuz'] = (response) => response.end('a ker');
    await refused('image_truncated', /^vmlinuz of http:.* ends after 5 octets; expected 8/);
  });

  test('whose server breaks off in the middle could not be fetched', async () => {
    instead['vmlinuz'] = (response) => {
      response.writeHead(200, { 'content-length': 8 });
      response.write('a ker', () => response.destroy());
    };
    await refused('image_fetch_failed', /photos\/vmlinuz could not be fetched: /);
  });

  test.for(['image.json', 'vmlinuz'])(
    'with %s without end is refused, and its server hears no more',
    async (name) => {
      const hungUp = Promise.withResolvers<void>();
      instead[name] = (response) => {
        const send = () => {
          while (response.write('x'.repeat(16 * 1024)));
        };
        response.on('drain', send).on('close', hungUp.resolve);
        send();
      };
      await refused(
        'image_invalid',
        name === 'vmlinuz' ? /longer than the 8 octets/ : /larger than 65536 octets/,
      );
      await hungUp.promise;
    },
  );

  test.for([404, 410])('of which a file is answered with %i is not found', async (status) => {
    instead['base.cpio'] = (response) => response.writeHead(status).end();
    await refused('image_not_found', new RegExp(`photos/base\\.cpio answered ${status}; expected 200`));
  });

  test.for([204, 206, 401, 500, 503])(
    'of which a file is answered with %i could not be fetched',
    async (status) => {
      instead['base.cpio'] = (response) => response.writeHead(status).end();
      await refused('image_fetch_failed', new RegExp(`answered ${status}; expected 200`));
    },
  );

  test.for([
    [
      'announces more than its manifest says',
      { 'content-length': 2 ** 50 },
      'image_invalid',
      /announces 1125899906842624 octets, more than the 8/,
    ],
    [
      'comes compressed, though that was not asked for',
      { 'content-encoding': 'gzip' },
      'image_fetch_failed',
      /came as gzip/,
    ],
  ] as const)('whose kernel %s is refused before it is read', async ([, headers, code, message]) => {
    const hungUp = Promise.withResolvers<void>();
    instead['vmlinuz'] = (response) => {
      response.on('close', hungUp.resolve).writeHead(200, headers).write('a');
    };
    await refused(code, message);
    await hungUp.promise;
  });

  test('sends its server no cookie, no credentials and no word of where it is', async () => {
    let sent: object = {};
    server.prependOnceListener('request', ({ headers }) => (sent = headers));
    await bring();
    expect(sent).toEqual({
      host: base.host,
      'accept-encoding': 'identity',
      'user-agent': 'orilla',
      connection: 'close',
    });
  });

  test('on a server that is not there could not be fetched, and the message says why', async () => {
    server.close();
    await once(server, 'close');
    await refused('image_fetch_failed', /ECONNREFUSED/);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  });
});

describe('a file whose connection breaks', () => {
  const ranges: (string | undefined)[] = [];
  /** Sends the kernel two octets at a time, and breaks off after each two. */
  const breakOff = (etag: (attempt: number) => string, answerFrom = (at: number) => at) => {
    ranges.length = 0;
    instead['vmlinuz'] = (response) => {
      const { range, 'if-range': validator } = response.req.headers;
      ranges.push(range);
      const at = answerFrom(Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0));
      const isPart = range !== undefined && validator === etag(ranges.length);
      response.writeHead(isPart ? 206 : 200, {
        etag: etag(ranges.length),
        'content-length': isPart ? 8 - at : 8,
        ...(isPart && { 'content-range': `bytes ${at}-7/8` }),
      });
      const begin = isPart ? at : 0;
      response.write('a kernel'.slice(begin, begin + 2), () =>
        begin + 2 < 8 ? response.destroy() : response.end(),
      );
    };
  };

  test('is gone on with where it broke, as long as it is the same file', async () => {
    breakOff(() => '"1"');
    const image = await bring();
    expect(await readFile(image.kernelPath, 'utf8')).toBe('a kernel');
    expect(ranges.filter((range) => range !== undefined)).toEqual(['bytes=2-', 'bytes=4-', 'bytes=6-']);
    expect(clock.pendingTimers).toBe(0);
  });

  test('is given up when it is another by then', async () => {
    breakOff((attempt) => `"${attempt}"`);
    await refused('image_fetch_failed', /answered 200; expected 206/);
  });

  test('is given up when the rest begins elsewhere', async () => {
    breakOff(
      () => '"1"',
      (at) => Math.max(0, at - 1),
    );
    await refused('image_fetch_failed', /did not go on where its connection broke/);
  });

  test('is given up when its server does not say which file it is', async () => {
    breakOff(() => 'W/"1"');
    await refused('image_fetch_failed', /vmlinuz could not be fetched/);
  });
});

describe('a server that falls silent', () => {
  const silent = /could not be fetched: the server is silent/;

  test('before its answer is given up after 15 s, and not before', async () => {
    const reached = Promise.withResolvers<void>();
    instead['image.json'] = () => reached.resolve();
    const refusal = refused('image_fetch_failed', silent);
    await reached.promise;
    await clock.advance(14_999);
    expect(clock.pendingTimers).toBe(1);
    await clock.advance(1);
    await refusal;
  });

  test('in the middle of a file is given up 15 s after its last octets', async () => {
    const { signal } = new AbortController();
    const reading = urlSource(clock, base).read('vmlinuz', { signal, limitBytes: 8 });
    const octets = reading[Symbol.asyncIterator]();
    const sent = new Promise<ServerResponse>((resolve) => {
      instead['vmlinuz'] = (response) => {
        response.write('a ');
        resolve(response);
      };
    });
    await octets.next();
    // Whoever takes the octets may need longer than that: it is the server that has to go on.
    await clock.advance(60_000);
    const next = octets.next();
    await clock.advance(14_999);
    (await sent).write('ker');
    expect((await next).value).toEqual(Buffer.from('ker'));
    const last = expect(octets.next()).rejects.toMatchObject({
      code: 'image_fetch_failed',
      message: expect.stringMatching(silent),
    });
    await clock.advance(15_000);
    await last;
    expect(clock.pendingTimers).toBe(0);
  });

  test('but for an octet now and then is too slow after a minute of that', async () => {
    const { signal } = new AbortController();
    const reading = urlSource(clock, base).read('vmlinuz', { signal, limitBytes: 2 ** 30 });
    const octets = reading[Symbol.asyncIterator]();
    const sent = new Promise<ServerResponse>((resolve) => {
      instead['vmlinuz'] = (response) => response.write('a', () => resolve(response));
    });
    await octets.next();
    for (let waitedMs = 0; waitedMs < 56_000; waitedMs += 14_000) {
      const next = octets.next();
      await clock.advance(14_000);
      (await sent).write('k');
      await next;
    }
    const last = expect(octets.next()).rejects.toMatchObject({
      message: expect.stringMatching(/the server is too slow/),
    });
    await clock.advance(4001);
    await last;
    expect(clock.pendingTimers).toBe(0);
  });

  test('is left at once by an abort, with the reason of that', async () => {
    const reached = Promise.withResolvers<void>();
    instead['vmlinuz'] = (response) => response.write('a ', () => reached.resolve());
    const calledOff = new AbortController();
    const bringing = bring(calledOff.signal);
    await reached.promise;
    calledOff.abort(new Error('called off'));
    await expect(bringing).rejects.toThrow('called off');
    expect(await readdir(stored)).toEqual([]);
    expect(clock.pendingTimers).toBe(0);
  });
});
