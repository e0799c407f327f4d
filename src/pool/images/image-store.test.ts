import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { writeImageFolder } from '../../../test/support/image-folder.ts';
import { smallDisk } from '../../../test/support/small-disk.ts';
import { ManualClock, systemRandom } from '../../base/index.ts';
import { identifyProcess } from '../../platform/process/index.ts';
import { directorySource, type ImageSource } from './image-source.ts';
import { ImageStore } from './image-store.ts';

let top: string;
beforeAll(() => {
  top = mkdtempSync(join(tmpdir(), 'orilla-image-store-'));
});
afterAll(() => rmSync(top, { recursive: true }));

/** The store's folder, the image's folder, and the store, new for each test. */
let stored: string;
let provided: string;
let store: ImageStore;
beforeEach(async () => {
  const folder = mkdtempSync(join(top, 'test-'));
  stored = join(folder, 'images');
  provided = join(folder, 'provided');
  mkdirSync(provided);
  store = await openStore();
});

const openStore = (folder = stored) =>
  ImageStore.open({ clock: new ManualClock(1000), random: systemRandom }, folder);
const { signal } = new AbortController();
const bring = (from: string | ImageSource = provided, expectedDigest?: string) =>
  store.import(typeof from === 'string' ? directorySource(from) : from, { signal, expectedDigest });
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

describe('an import', () => {
  test('brings in every file, checked, under the digest of the manifest [gateway G5]', async () => {
    const digest = await writeImageFolder(provided, { name: 'photos' });
    const progress: number[][] = [];
    const image = await store.import(directorySource(provided), {
      signal,
      expectedDigest: digest,
      onProgress: (...now) => progress.push(now),
    });
    expect(image).toMatchObject({
      digest,
      name: 'photos',
      architecture: 'x86_64',
      sizeBytes: 15,
      storedAtMs: 1000,
    });
    expect(await readFile(image.kernelPath, 'utf8')).toBe('a kernel');
    expect(await readFile(image.initrdPath, 'utf8')).toBe('a layer');
    expect(progress.at(-1)).toEqual([15, 15]);
    expect(await readdir(stored)).toEqual([digest.slice('sha256:'.length)]);
    // As another process, or the next one, finds it.
    expect(await (await openStore()).find(digest)).toMatchObject({
      ...image,
      storedAtMs: expect.any(Number),
    });
    expect(await store.list()).toHaveLength(1);
  });

  test("is the operator's word for an image, also when an origin brought it first, and again after", async () => {
    const digest = await writeImageFolder(provided, { name: 'photos' });
    const isTrusted = async () => (await (await openStore()).find(digest))?.isTrusted;
    expect((await bring()).isTrusted).toBe(false);
    expect(await isTrusted()).toBe(false);
    const image = await store.import(directorySource(provided), { signal, isTrusted: true });
    expect(image.isTrusted).toBe(true);
    expect((await bring()).isTrusted).toBe(true);
    expect(await isTrusted()).toBe(true);
    await store.remove(digest);
    expect((await bring()).isTrusted).toBe(false);
  });

  test('without an expected digest takes the one that it finds', async () => {
    const digest = await writeImageFolder(provided);
    expect((await bring()).digest).toBe(digest);
  });

  test('joins layers in their order, each at a multiple of 4 octets', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 2, maxLength: 5 }),
        async (sizes) => {
          const layers = sizes.map((size, index) => String(index + 1).repeat(size));
          const files = Object.fromEntries(layers.map((layer, index) => [`${index}.cpio`, layer]));
          // The kernel is another in each run, so that no run finds the image of an earlier one.
          const folder = mkdtempSync(join(provided, 'layers-'));
          await writeImageFolder(folder, { files: { vmlinuz: folder, ...files } });
          const joined = await readFile((await bring(folder)).initrdPath, 'latin1');
          const padded = layers.map((layer) => layer.padEnd(Math.ceil(layer.length / 4) * 4, '\0'));
          expect(joined).toBe(padded.join(''));
        },
      ),
      { numRuns: 25 },
    );
  });

  test('of what is there already reads the manifest only', async () => {
    await writeImageFolder(provided);
    await bring();
    await rm(join(provided, 'vmlinuz'));
    expect(await readFile((await bring()).kernelPath, 'utf8')).toBe('a kernel');
  });

  test('links a file that another image holds, and does not read it again', async () => {
    const files = { vmlinuz: 'a kernel', 'base.cpio': 'a layer' };
    await writeImageFolder(provided, { name: 'one', files });
    const one = await bring();
    await rm(join(provided, 'vmlinuz'));
    await writeImageFolder(join(provided, 'two'), {
      name: 'two',
      files: { ...files, 'app.cpio': 'another' },
    });
    await rm(join(provided, 'two', 'vmlinuz'));
    const two = await bring(join(provided, 'two'));
    expect((await stat(two.kernelPath)).ino).toBe((await stat(one.kernelPath)).ino);

    await store.remove(one.digest);
    expect(await readFile(two.kernelPath, 'utf8')).toBe('a kernel');
  });

  test('may be made twice at the same time', async () => {
    const digest = await writeImageFolder(provided);
    const both = await Promise.all([bring(), bring()]);
    expect(both.map((image) => image.digest)).toEqual([digest, digest]);
    expect(await readdir(stored)).toEqual([digest.slice('sha256:'.length)]);
    expect(await readFile(both[1].kernelPath, 'utf8')).toBe('a kernel');
  });
});

describe('nothing is kept of an image', () => {
  const refused = async (
    code: string,
    message: RegExp,
    expectedDigest?: string,
    from?: string | ImageSource,
  ) => {
    await expect(bring(from, expectedDigest)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
    expect(await readdir(stored)).toEqual([]);
  };

  test('whose manifest has another digest than was asked for', async () => {
    const digest = await writeImageFolder(provided);
    const other = `sha256:${'0'.repeat(64)}`;
    await refused('image_digest_mismatch', new RegExp(`${digest}.*expected ${other}`), other);
  });

  test('of which a file has another digest than its manifest says', async () => {
    await writeImageFolder(provided);
    await writeFile(join(provided, 'base.cpio'), 'a later');
    await refused('image_digest_mismatch', /^base\.cpio of .*expected /);
  });

  test('of which a file is too short or too long', async () => {
    await writeImageFolder(provided);
    await writeFile(join(provided, 'base.cpio'), 'a lay');
    await refused('image_truncated', /base\.cpio .* after 5 octets; expected 7/);
    await writeFile(join(provided, 'base.cpio'), 'a layer and more');
    await refused('image_invalid', /base\.cpio .* longer than the 7 octets/);
  });

  test('of which a file is missing, a link or a folder, or that is not there at all', async () => {
    await writeImageFolder(provided);
    const layer = join(provided, 'base.cpio');
    await rm(layer);
    await refused('image_not_found', /base\.cpio/);
    await writeFile(join(provided, 'elsewhere'), 'a layer');
    await symlink('elsewhere', layer);
    await refused('image_invalid', /base\.cpio is not a regular file/);
    await rm(layer);
    await mkdir(layer);
    await refused('image_invalid', /base\.cpio is not a regular file/);
    await refused('image_not_found', /image\.json/, undefined, join(provided, 'nowhere'));
  });

  test.for([
    ['a pipe that nobody writes to', (path: string) => execFileSync('mkfifo', [path])],
    ['a link to a device', (path: string) => symlink('/dev/zero', path)],
    ['a socket', listenOn],
  ] as const)('whose file is %s', async ([, make]) => {
    await writeImageFolder(provided);
    const path = join(provided, 'base.cpio');
    await rm(path);
    await make(path);
    await refused('image_invalid', /base\.cpio is not a regular file/);
  });

  test('whose folder is one of devices', async () => {
    const devices: ImageSource = directorySource('/dev');
    const reading = devices.read('zero', { signal, limitBytes: 10 })[Symbol.asyncIterator]();
    await expect(reading.next()).rejects.toMatchObject({ code: 'image_invalid' });
  });

  test.for([
    ['that names a file twice', (m: object) => ({ ...m, initrd: [file('vmlinuz')] }), /names a file twice/],
    ['that names itself', (m: object) => ({ ...m, initrd: [file('image.json')] }), /names a file twice/],
    [
      'that names a file elsewhere',
      (m: object) => ({ ...m, kernel: file('../vmlinuz') }),
      /kernel\.file: expected a plain/,
    ],
    [
      'that names a hidden file',
      (m: object) => ({ ...m, initrd: [file('.initrd')] }),
      /initrd\.0\.file: expected a plain/,
    ],
    ['without layers', (m: object) => ({ ...m, initrd: [] }), /initrd: /],
    ['with a key that nobody knows', (m: object) => ({ ...m, colour: 'blue' }), /"colour"/],
    ['of another format', (m: object) => ({ ...m, format: 'orilla.image/2' }), /format: /],
  ] as const)('with a manifest %s', async ([, change, message]) => {
    await writeImageFolder(provided, { change });
    await refused('image_invalid', message);
  });

  test('with a manifest that is no JSON, no UTF-8, or too long', async () => {
    for (const content of ['{', Buffer.from('{"name": "\xff"}', 'latin1')]) {
      await writeFile(join(provided, 'image.json'), content);
      await refused('image_invalid', /image\.json is not JSON/);
    }
    await writeFile(join(provided, 'image.json'), ' '.repeat(64 * 1024 + 1));
    await refused('image_invalid', /image\.json .* larger than 65536 octets/);
  });

  test('whose import is called off in the middle', async () => {
    await writeImageFolder(provided);
    const calledOff = new AbortController();
    const directory = directorySource(provided);
    const source: ImageSource = {
      description: 'a slow source',
      async *read(name, given) {
        if (name === 'image.json') {
          yield* directory.read(name, given);
          return;
        }
        yield Buffer.from('a');
        expect(await readdir(stored)).toEqual([expect.stringMatching(/^\.incoming-/)]);
        calledOff.abort(new Error('called off'));
        given.signal.throwIfAborted();
      },
    };
    await expect(store.import(source, { signal: calledOff.signal })).rejects.toThrow('called off');
    expect(await readdir(stored)).toEqual([]);
    await expect(store.import(directory, { signal: calledOff.signal })).rejects.toThrow('called off');
    expect(await readdir(stored)).toEqual([]);
  });

  test('for which there is no room on the disk', async (context) => {
    const disk = smallDisk(context);
    const full = await openStore(join(disk, 'images'));
    await writeImageFolder(provided, { files: { vmlinuz: 'k'.repeat(2 ** 21), 'base.cpio': 'a layer' } });
    await expect(full.import(directorySource(provided), { signal })).rejects.toMatchObject({
      code: 'disk_full',
      status: 507,
      message: expect.stringContaining(join(disk, 'images')),
    });
    expect(await readdir(join(disk, 'images'))).toEqual([]);
  });
});

describe('a store that is opened', () => {
  test('removes what imports of dead processes left, also of one that had our number', async () => {
    const sleeper = spawn('sleep', ['600']);
    await once(sleeper, 'spawn');
    const running = identifyProcess(sleeper.pid!)!;
    const self = identifyProcess(process.pid)!;
    const names = {
      alive: `.incoming-${running.pid}-${running.startTicks}-aaaa`,
      ours: `.incoming-${self.pid}-${self.startTicks}-bbbb`,
      earlier: `.incoming-${self.pid}-${self.startTicks - 1}-cccc`,
      gone: '.incoming-4194305-77-dddd', // Above the largest pid that Linux gives.
    };
    for (const name of [...Object.values(names), 'somebody-elses']) {
      await mkdir(join(stored, name));
      await writeFile(join(stored, name, 'vmlinuz'), 'half a ker');
    }
    await openStore();
    expect((await readdir(stored)).sort()).toEqual([names.alive, names.ours, 'somebody-elses'].sort());
    expect(await store.list()).toEqual([]);
    sleeper.kill('SIGKILL');
    await once(sleeper, 'exit');
    await openStore();
    expect((await readdir(stored)).sort()).toEqual([names.ours, 'somebody-elses'].sort());
  });

  test('lists its images by name, and finds none that it has not', async () => {
    for (const name of ['photos', 'maps']) await bring(await imageNamed(name));
    expect((await store.list()).map(({ name }) => name)).toEqual(['maps', 'photos']);
    expect(await store.find(`sha256:${'0'.repeat(64)}`)).toBeUndefined();
  });

  test('removes an image once', async () => {
    const { digest } = await bring(await imageNamed('photos'));
    await store.remove(digest);
    expect(await readdir(stored)).toEqual([]);
    await expect(store.remove(digest)).rejects.toMatchObject({ code: 'image_not_found' });
  });
});

const file = (name: string) => ({ file: name, sizeBytes: 8, sha256: sha256('a kernel') });

/** A Unix socket, which stays in the file system for the test. */
async function listenOn(path: string): Promise<void> {
  const server = createServer().listen(path);
  await once(server, 'listening');
  server.unref();
}

async function imageNamed(name: string): Promise<string> {
  const folder = join(provided, name);
  await writeImageFolder(folder, { name });
  return folder;
}
