import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { mkdir, open, readFile, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { smallDisk } from '../../../test/support/small-disk.ts';
import { temporaryFolder } from '../../../test/support/temporary-folder.ts';
import { needs } from '../../../test/support/tools.ts';
import type { StoredImage } from '../images/image-store.ts';
import type { ImageDisk } from '../schema.ts';
import { areUntouched } from './machine-disk.ts';
import { VmDisks } from './vm-disks.ts';

const MIB = 2 ** 20;
const DIGESTS = ['a', 'b'].map((digit) => `sha256:${digit.repeat(64)}`) as [string, string];

describe("a VM's disks", () => {
  let folder: string;
  let disks: VmDisks;
  const signal = new AbortController().signal;

  beforeEach(async () => {
    folder = join(await temporaryFolder(), 'vms');
    disks = new VmDisks(folder);
  });

  const imageOf = (digest: string, ...ofImage: { format: 'raw' | 'qcow2'; path: string }[]): StoredImage => {
    const named = ofImage.map(
      ({ format }): ImageDisk => ({
        file: 'root',
        sizeBytes: 1,
        sha256: '0'.repeat(64),
        format,
        virtualSizeBytes: 4 * MIB,
      }),
    );
    const manifest = { ...(named.length > 0 && { disks: named }) };
    return { digest, manifest, diskPaths: ofImage.map(({ path }) => path) } as unknown as StoredImage;
  };
  const plain = imageOf(DIGESTS[0]);
  const prepare = (name: string, diskBytes: number, image = plain) =>
    disks.prepare(name, image, { cpus: 1, memoryBytes: 2 ** 27, diskBytes }, signal);
  const write = async (path: string, text: string) => {
    await using handle = await open(path, 'r+');
    await handle.write(text, 0);
    await handle.sync();
  };

  test('are none without a disk in its configuration and its image', async () => {
    expect(await prepare('photos', 0)).toEqual([]);
    expect(existsSync(folder)).toBe(false);
  });

  test('have as much as the configuration says, take nothing of the host at first, and keep what is written', async () => {
    const [disk] = await prepare('photos', 8 * MIB);
    expect(disk).toEqual({ path: join(folder, 'photos', 'data.raw'), format: 'raw', sizeBytes: 8 * MIB });
    expect(statSync(disk!.path)).toMatchObject({ size: 8 * MIB, blocks: 0 });
    expect(statSync(disk!.path).mode & 0o777).toBe(0o600);
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(await areUntouched([disk!])).toBe(true);
    expect(await disks.usedBytes()).toBe(0);
    await write(disk!.path, 'kept');
    expect(await areUntouched([disk!])).toBe(false);
    expect(await disks.usedBytes()).toBe(4096);
    await prepare('photos', 8 * MIB);
    expect((await readFile(disk!.path)).subarray(0, 4).toString()).toBe('kept');
  });

  test('grow, and never shrink', async () => {
    const [disk] = await prepare('photos', MIB);
    await write(disk!.path, 'kept');
    expect((await prepare('photos', 2 * MIB))[0]).toMatchObject({ sizeBytes: 2 * MIB });
    expect(statSync(disk!.path).size).toBe(2 * MIB);
    const { mtimeMs } = statSync(disk!.path);
    expect((await prepare('photos', MIB))[0]).toMatchObject({ sizeBytes: 2 * MIB });
    expect(await prepare('photos', 0)).toEqual([]);
    expect(statSync(disk!.path)).toMatchObject({ size: 2 * MIB, mtimeMs });
    expect((await readFile(disk!.path)).subarray(0, 4).toString()).toBe('kept');
  });

  test('are refused when what all may grow to has no room, and none is made then', async (context) => {
    disks = new VmDisks(smallDisk(context, 'size=8m'));
    const [disk] = await prepare('photos', 4 * MIB);
    await expect(prepare('films', 6 * MIB)).rejects.toMatchObject({
      code: 'disk_full',
      message: expect.stringMatching(
        /may take 6(\.\d)? MiB more; there are 8 MiB free, of which .* 4(\.\d)? MiB$/,
      ),
    });
    expect(readdirSync(dirname(dirname(disk!.path)))).toEqual(['photos']);
    // Of ten at once only as many get theirs as there is room for.
    const outcomes = await Promise.allSettled(
      Array.from({ length: 10 }, (_, index) => prepare(`vm${index}`, MIB)),
    );
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(2);
    // One that was promised its disk before keeps it, also when others have filled the host's.
    await writeFile(join(dirname(disk!.path), '..', 'other'), Buffer.alloc(5 * MIB, 1));
    expect(await prepare('photos', 4 * MIB)).toEqual([disk]);
  });

  test('are copied with their holes, and come back from the copy', async () => {
    const [disk] = await prepare('photos', 64 * MIB);
    await write(disk!.path, 'before');
    await truncate(disk!.path, 64 * MIB);
    const before = statSync(disk!.path, { bigint: true });
    const copy = join(dirname(folder), 'copy');
    await disks.copy([disk!], copy, signal);
    expect(statSync(join(copy, 'data.raw')).blocks).toBeLessThan(100);
    await write(disk!.path, 'after ');
    await disks.restore([disk!], copy, signal);
    const after = statSync(disk!.path, { bigint: true });
    expect([after.size, after.mtimeNs]).toEqual([before.size, before.mtimeNs]);
    expect((await readFile(disk!.path)).subarray(0, 6).toString()).toBe('before');
    expect(readdirSync(join(folder, 'photos'))).toEqual(['data.raw']);
  });

  test('are not copied to where there is no room, and nothing of the copy is left', async (context) => {
    const [disk] = await prepare('photos', 2 * MIB);
    await writeFile(disk!.path, Buffer.alloc(2 * MIB, 1));
    const copy = join(smallDisk(context), 'copy');
    await expect(disks.copy([disk!], copy, signal)).rejects.toMatchObject({ code: 'disk_full' });
    expect(readdirSync(copy)).toEqual([]);
  });

  test('go when nobody wants the VM, and what others have stays', async () => {
    for (const name of ['photos', 'films', 'music']) await prepare(name, MIB);
    await mkdir(join(folder, 'photos', 'b'.repeat(64)));
    await disks.remove('music');
    await disks.remove('music');
    await disks.collect(new Map([['photos', new Set([DIGESTS[0]])]]));
    expect(readdirSync(folder)).toEqual(['photos']);
    expect(readdirSync(join(folder, 'photos'))).toEqual(['data.raw']);
    await new VmDisks(join(folder, 'nowhere')).collect(new Map());
  });

  needs('qemu-img')('of its image', () => {
    let base: string;
    beforeEach(async () => {
      base = join(await temporaryFolder(), 'root');
      await writeFile(base, Buffer.alloc(4 * MIB, 'base'));
    });
    const info = (path: string) =>
      JSON.parse(execFileSync('qemu-img', ['info', '--output=json', path], { encoding: 'utf8' })) as object;

    test('lie over the image, behind its own, and are made anew for another image', async () => {
      const image = imageOf(DIGESTS[0], { format: 'raw', path: base }, { format: 'qcow2', path: base });
      const made = await prepare('photos', MIB, image);
      const ofImage = join(folder, 'photos', 'a'.repeat(64));
      expect(made.map(({ path }) => path)).toEqual([
        join(folder, 'photos', 'data.raw'),
        join(ofImage, '0-4194304.qcow2'),
        join(ofImage, '1-4194304.qcow2'),
      ]);
      expect(made.slice(1)).toMatchObject([
        { format: 'qcow2', sizeBytes: 4 * MIB, backing: { path: base, format: 'raw' } },
        { format: 'qcow2', sizeBytes: 4 * MIB, backing: { path: base, format: 'qcow2' } },
      ]);
      expect(info(made[1]!.path)).toMatchObject({
        format: 'qcow2',
        'virtual-size': 4 * MIB,
        'backing-filename': base,
        'backing-filename-format': 'raw',
      });
      expect(await areUntouched(made)).toBe(false);

      const { ino } = statSync(made[1]!.path);
      await prepare('photos', MIB, image);
      expect(statSync(made[1]!.path).ino).toBe(ino);
      await prepare('photos', MIB, imageOf(DIGESTS[1], { format: 'raw', path: base }));
      expect(readdirSync(join(folder, 'photos'))).toEqual(['a'.repeat(64), 'b'.repeat(64), 'data.raw']);
      await disks.keepOverlays('photos', new Set([DIGESTS[1]]));
      expect(readdirSync(join(folder, 'photos'))).toEqual(['b'.repeat(64), 'data.raw']);
    });

    test('are made whole: one that was begun counts for nothing', async () => {
      const image = imageOf(DIGESTS[0], { format: 'raw', path: base });
      const ofImage = join(folder, 'photos', 'a'.repeat(64));
      await mkdir(ofImage, { recursive: true });
      await writeFile(join(ofImage, '0-4194304.qcow2.new'), 'half');
      const [overlay] = await prepare('photos', 0, image);
      expect(readdirSync(ofImage)).toEqual(['0-4194304.qcow2']);
      expect(info(overlay!.path)).toMatchObject({ 'virtual-size': 4 * MIB });
    });
  });
});
