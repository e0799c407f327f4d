import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { writeImageFolder } from '../../../test/support/image-folder.ts';
import { temporaryFolder } from '../../../test/support/temporary-folder.ts';
import { needs } from '../../../test/support/tools.ts';
import { ManualClock, systemRandom } from '../../base/index.ts';
import type { ImageDisk, ImageManifest } from '../schema.ts';
import { checkDisk } from './disk-check.ts';
import { directorySource } from './image-source.ts';
import { ImageStore } from './image-store.ts';

const MIB = 2 ** 20;
const SIZE = 10 * MIB;
const { signal } = new AbortController();

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await temporaryFolder();
  path = join(folder, 'root.disk');
});

const diskOf = async (format: ImageDisk['format'], virtualSizeBytes = SIZE): Promise<ImageDisk> => {
  const octets = await readFile(path);
  const sha256 = createHash('sha256').update(octets).digest('hex');
  return { file: 'root.disk', sizeBytes: octets.length, sha256, format, virtualSizeBytes };
};
const refused = async (disk: ImageDisk, words: RegExp) =>
  expect(checkDisk(path, disk, signal)).rejects.toMatchObject({
    code: 'image_invalid',
    message: expect.stringMatching(words),
  });

describe('a disk', () => {
  test('that is raw is as large as it says, in whole sectors', async () => {
    await writeFile(path, Buffer.alloc(1000));
    await refused(await diskOf('raw', 2000), /has 1000 octets, and a virtual size of 2000/);
    await refused(await diskOf('raw', 1000), /no whole sectors/);
  });

  test('that is to be qcow2 and is not is refused before any program looks at it', async () => {
    await writeFile(path, 'nothing');
    await refused(await diskOf('qcow2'), /root\.disk \(qcow2\) is not qcow2/);
  });

  test('that comes when qemu-img is missing is told so', async () => {
    await writeFile(path, Buffer.alloc(SIZE));
    const searched = process.env['PATH'];
    process.env['PATH'] = folder;
    try {
      await expect(checkDisk(path, await diskOf('raw'), signal)).rejects.toMatchObject({
        code: 'hypervisor_missing',
        message: expect.stringContaining('qemu-utils'),
      });
    } finally {
      process.env['PATH'] = searched;
    }
  });
});

needs('qemu-img')('a disk that qemu-img made', () => {
  const create = (...options: string[]) =>
    // It makes and empties what it is told to use: nothing outside this folder may be named.
    execFileSync('qemu-img', ['create', '-q', ...options], { cwd: folder, stdio: 'pipe' });
  const make = (...options: string[]) => create('-f', 'qcow2', ...options, path, String(SIZE));

  test.for([
    ['of version 3', []],
    ['of version 2', ['-o', 'compat=0.10']],
    ['with subclusters', ['-o', 'extended_l2=on,cluster_size=128k']],
    ['with small clusters', ['-o', 'cluster_size=512']],
  ] as const)('%s is sound', async ([, options]) => {
    make(...options);
    await checkDisk(path, await diskOf('qcow2'), signal);
  });

  test('that is raw is sound, also with the first sector of a qcow2 disk', async () => {
    create('-f', 'raw', path, String(SIZE));
    await checkDisk(path, await diskOf('raw'), signal);
    make('-o', 'data_file=elsewhere.raw,data_file_raw=on');
    await truncate(path, SIZE);
    await checkDisk(path, await diskOf('raw'), signal);
  });

  test.for([
    ['a backing file', ['-b', 'elsewhere.raw', '-F', 'raw', '-u'], /has a backing file/],
    ['its data in another file', ['-o', 'data_file=elsewhere.raw'], /has its data in another file/],
    [
      'encryption',
      [
        '--object',
        'secret,id=s,data=x',
        '-o',
        'encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10',
      ],
      /has encryption/,
    ],
  ] as const)('with %s is refused', async ([, options, words]) => {
    // For a key qemu-img measures the processor, and now and then, on a busy one, it cannot.
    await vi.waitFor(() => make(...options), 10_000);
    await refused(await diskOf('qcow2'), words);
  });

  test('with another virtual size than its manifest says is refused', async () => {
    create('-f', 'qcow2', path, '4T');
    await refused(await diskOf('qcow2'), /virtual size of 4398046511104 octets; its manifest says 10485760/);
  });

  test('whose tables lead nowhere is refused by qemu-img', async () => {
    make();
    const octets = await readFile(path);
    octets.writeBigUInt64BE(7n, 40);
    await writeFile(path, octets);
    await refused(await diskOf('qcow2'), /is not read by qemu-img/);
  });

  test('comes with an image, or keeps the whole image out', async () => {
    const store = await ImageStore.open(
      { clock: new ManualClock(), random: systemRandom },
      join(folder, 'images'),
    );
    const provided = join(folder, 'provided');
    const bring = async (format: ImageDisk['format']) => {
      const disk = await diskOf(format);
      const change = (manifest: ImageManifest) => ({ ...manifest, disks: [disk] });
      await writeImageFolder(provided, { change });
      await writeFile(join(provided, 'root.disk'), await readFile(path));
      return store.import(directorySource(provided), { signal });
    };
    make('-b', 'elsewhere.raw', '-F', 'raw', '-u');
    await expect(bring('qcow2')).rejects.toMatchObject({ code: 'image_invalid' });
    expect(await readdir(join(folder, 'images'))).toEqual([]);
    make();
    const image = await bring('qcow2');
    expect(image.manifest.disks).toMatchObject([{ format: 'qcow2', virtualSizeBytes: SIZE }]);
    expect(image.sizeBytes).toBe(15 + (await diskOf('qcow2')).sizeBytes);
  });
});
