import { createHash } from 'node:crypto';
import {
  chmod,
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { elfFile } from '../../../test/support/elf-file.ts';
import { systemRandom } from '../../base/index.ts';
import { packagePath, runCommand } from '../../platform/process/index.ts';
import { imageManifestSchema } from '../schema.ts';
import type { RunCommand } from './debian-package.ts';
import { buildWebImage, type WebImageOptions } from './web-image.ts';

const MODULES: Record<string, string> = {
  virtio_ring: '',
  virtio: 'virtio_ring',
  virtio_mmio: 'virtio,virtio_ring',
  failover: '',
  net_failover: 'failover',
  virtio_net: 'virtio_ring,virtio,net_failover',
  virtio_console: 'virtio',
  'virtio-rng': 'virtio',
};
const sha256 = (octets: Uint8Array | string) => createHash('sha256').update(octets).digest('hex');

const DEPENDS: Record<string, string> = {
  'linux-image-cloud-amd64': 'linux-image-6.1-cloud-amd64 (= 6.1-1)',
  'qemu-guest-agent': 'libc6 (>= 2.34), libglib2.0-0, adduser',
  'libglib2.0-0': 'libc6, libpcre2-8-0',
};

/** A Debian archive of some packages, each of which is its own data.tar. */
let archive: string;
beforeAll(async () => {
  archive = await mkdtemp(join(tmpdir(), 'orilla-archive-'));
  await makePackage('linux-image-cloud-amd64', {});
  await makePackage('linux-image-cloud-arm64', {});
  await makePackage('busybox-static', { 'bin/busybox': 'ELF' });
  const program = elfFile(['libglib-2.0.so.0', 'libc.so.6'], '/lib64/ld-linux.so.2');
  await makePackage('qemu-guest-agent', { 'usr/sbin/qemu-ga': program });
  await makePackage('libc6', {
    'lib/x86_64-linux-gnu/ld-linux.so.2': elfFile([]),
    'lib/x86_64-linux-gnu/libc.so.6': elfFile(['ld-linux.so.2']),
  });
  await makePackage('libglib2.0-0', {
    'usr/lib/libglib-2.0.so.0.7400.6': elfFile(['libpcre2-8.so.0']),
    'usr/lib/libglib-2.0.so.0': { target: 'libglib-2.0.so.0.7400.6' },
  });
  await makePackage('libpcre2-8-0', { 'usr/lib/libpcre2-8.so.0': elfFile(['libc.so.6']) });
  await makePackage('linux-image-6.1-cloud-amd64', {
    'boot/vmlinuz-6.1-cloud-amd64': 'MZ',
    'lib/modules/6.1-cloud-amd64/modules.builtin': 'kernel/drivers/block/virtio_blk.ko\n',
    ...Object.fromEntries(
      Object.entries(MODULES).map(([name, depends]) => [
        `lib/modules/6.1-cloud-amd64/kernel/drivers/${name}.ko`,
        `\x7fELF\0license=GPL\0depends=${depends}\0name=${name}\0`,
      ]),
    ),
  });
});
afterAll(() => rm(archive, { recursive: true }));

async function makePackage(
  name: string,
  files: Record<string, string | Buffer | { readonly target: string }>,
): Promise<void> {
  const root = join(archive, `${name}.root`);
  await mkdir(root);
  for (const [path, content] of Object.entries(files)) {
    await mkdir(join(root, path, '..'), { recursive: true });
    if (typeof content === 'object' && 'target' in content) await symlink(content.target, join(root, path));
    else await writeFile(join(root, path), content);
  }
  await runCommand('tar', ['--create', '--file', join(archive, `${name}.deb`), '--directory', root, '.']);
}

const run: RunCommand = async (command, args, options) => {
  const name = /([a-z0-9.-]+?)(?::[a-z0-9]+)?(?:=.*)?$/.exec(args.at(-1) ?? '')?.[1] ?? '';
  if (command === 'apt-cache') {
    const sum = sha256(await readFile(join(archive, `${name}.deb`)));
    const stdout = `Package: ${name}\nVersion: 6.1-1\nArchitecture: amd64\nDepends: ${DEPENDS[name] ?? ''}\nSize: 1\nSHA256: ${sum}\n`;
    return { stdout, stderr: '' };
  }
  if (command === 'apt-get') {
    await copyFile(join(archive, `${name}.deb`), join(options?.cwd ?? '', `${name}.deb`));
    return { stdout: '', stderr: '' };
  }
  if (command === 'dpkg-deb') {
    await copyFile(args.at(-1) ?? '', options?.stdoutFile ?? '');
    return { stdout: '', stderr: '' };
  }
  return runCommand(command, args, options);
};

let folder: string;
let options: WebImageOptions & { contentDirectory: string };
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'orilla-web-image-'));
  options = {
    name: 'photos',
    contentDirectory: join(folder, 'content'),
    outputDirectory: join(folder, 'image'),
    cacheDirectory: join(folder, 'cache'),
    recipeDirectory: packagePath('guest', 'web'),
    architecture: 'x86_64',
  };
  await mkdir(join(options.contentDirectory, 'album'), { recursive: true });
  await writeFile(join(options.contentDirectory, 'index.html'), '<h1>Photos</h1>');
  await writeFile(join(options.contentDirectory, 'album', '1.jpg'), 'JFIF');
});
afterEach(() => rm(folder, { recursive: true }));

const build = (changes: Partial<WebImageOptions> = {}) =>
  buildWebImage({ random: systemRandom, run }, { ...options, ...changes });
const imageFile = (name: string) => readFile(join(options.outputDirectory, name));

describe('buildWebImage', () => {
  test('writes a manifest that names every file by its size and digest', async () => {
    const manifest = await build();
    expect(imageManifestSchema.parse(JSON.parse(String(await imageFile('image.json'))))).toEqual(manifest);
    expect(manifest).toMatchObject({
      name: 'photos',
      architecture: 'x86_64',
      minimumMemoryBytes: 129 * 2 ** 20,
      applications: { program: '/bin/orilla-application' },
      sources: {
        'linux-image-6.1-cloud-amd64': '6.1-1',
        'busybox-static': '6.1-1',
        'qemu-guest-agent': '6.1-1',
        libc6: '6.1-1',
        'libglib2.0-0': '6.1-1',
        'libpcre2-8-0': '6.1-1',
      },
    });
    const files = [manifest.kernel, ...manifest.initrd];
    expect(files.map(({ file }) => file)).toEqual(['vmlinuz', 'base.cpio', 'content.cpio']);
    for (const { file, sizeBytes, sha256: digest } of files) {
      const octets = await imageFile(file);
      expect([octets.length, sha256(octets)]).toEqual([sizeBytes, digest]);
    }
    expect((await readdir(options.outputDirectory)).toSorted()).toEqual([
      'base.cpio',
      'content.cpio',
      'image.json',
      'vmlinuz',
    ]);
    expect((await readdir(folder)).toSorted()).toEqual(['cache', 'content', 'image']);
  });

  test('puts the content under /www, and no layer for it when there is none', async () => {
    await build();
    expect(String(await imageFile('content.cpio'))).toContain('www/album/1.jpg\0');
    const { contentDirectory: _, ...withoutContent } = options;
    const { initrd } = await buildWebImage({ random: systemRandom, run }, withoutContent);
    expect(initrd.map(({ file }) => file)).toEqual(['base.cpio']);
    expect(await readdir(options.outputDirectory)).not.toContain('content.cpio');
  });

  test('takes the guest agent along with all that it needs, from whichever package has it', async () => {
    await build();
    const base = String(await imageFile('base.cpio'));
    const files = [
      'usr/sbin/qemu-ga',
      'lib64/ld-linux.so.2',
      'lib/libc.so.6',
      'lib/libglib-2.0.so.0',
      'lib/libpcre2-8.so.0',
    ];
    for (const name of files) expect(base).toContain(`${name}\0`);
  });

  test('a library that no package has is told', async () => {
    const without: RunCommand = async (command, args, runOptions) => {
      const output = await run(command, args, runOptions);
      const isList = command === 'tar' && args.includes('--list');
      return isList ? { ...output, stdout: output.stdout.replace(/^.*libpcre2.*$/m, '') } : output;
    };
    await expect(buildWebImage({ random: systemRandom, run: without }, options)).rejects.toMatchObject({
      code: 'package_damaged',
      message: expect.stringContaining('libpcre2-8.so.0'),
    });
  });

  test('tells modprobe what each module needs, the nearest first, and leaves out what is built in', async () => {
    await build();
    const base = String(await imageFile('base.cpio'));
    expect(base).toContain('\nvirtio_mmio.ko: virtio.ko virtio_ring.ko\n');
    expect(base).toContain('\nvirtio_net.ko: net_failover.ko failover.ko virtio.ko virtio_ring.ko\n');
    expect(base).toContain('virtio-rng.ko: virtio.ko virtio_ring.ko\n');
    expect(base).not.toContain('virtio_blk.ko');
  });

  test('the same packages and content give the same octets, whatever the times and the folders', async () => {
    await build();
    const first = await imageFile('image.json');
    await utimes(join(options.contentDirectory, 'index.html'), 1, 1);
    await chmod(join(options.contentDirectory, 'index.html'), 0o600);
    const again = join(folder, 'again');
    await build({ outputDirectory: again, cacheDirectory: join(folder, 'another-cache') });
    expect(await readFile(join(again, 'image.json'))).toEqual(first);
  });

  test('tells each step as it begins', async () => {
    const steps: string[] = [];
    await build({ onProgress: ({ label, done, total }) => steps.push(`${done}/${total} ${label}`) });
    expect(steps).toEqual([
      '0/6 Reading the content',
      '1/6 Fetching the Linux kernel',
      '2/6 Fetching busybox',
      "3/6 Fetching QEMU's guest agent",
      '4/6 Unpacking',
      '5/6 Writing the image',
    ]);
  });

  test('replaces an image that is there', async () => {
    await build();
    await writeFile(join(options.contentDirectory, 'new.html'), 'new');
    await build();
    expect(String(await imageFile('content.cpio'))).toContain('new.html');
    expect((await readdir(folder)).toSorted()).toEqual(['cache', 'content', 'image']);
  });

  test('does not replace a folder that is not an image, or holds more than one', async () => {
    await mkdir(options.outputDirectory);
    await writeFile(join(options.outputDirectory, 'thesis.txt'), 'years of work');
    await expect(build()).rejects.toMatchObject({ code: 'output_not_an_image' });
    await rm(join(options.outputDirectory, 'thesis.txt'));
    await build();
    await writeFile(join(options.outputDirectory, 'thesis.txt'), 'years of work');
    await expect(build()).rejects.toMatchObject({ message: expect.stringContaining('thesis.txt') });
    expect(String(await imageFile('thesis.txt'))).toBe('years of work');
  });

  test('refuses a symbolic link in the content and leaves the image as it was', async () => {
    await build();
    const before = await imageFile('image.json');
    await symlink('/etc/shadow', join(options.contentDirectory, 'album', 'link'));
    await expect(build()).rejects.toMatchObject({
      code: 'content_invalid',
      message: expect.stringMatching(/album\/link is a symbolic link/),
    });
    expect(await imageFile('image.json')).toEqual(before);
  });

  test('a content folder that is not there is told', async () => {
    await expect(build({ contentDirectory: join(folder, 'nowhere') })).rejects.toMatchObject({
      code: 'content_invalid',
    });
  });

  test('a kernel without a module that the guest needs is told', async () => {
    const withoutMmio: RunCommand = async (command, args, runOptions) => {
      const output = await run(command, args, runOptions);
      const isList = command === 'tar' && args.includes('--list');
      return isList ? { ...output, stdout: output.stdout.replace(/^.*virtio_mmio.*$/m, '') } : output;
    };
    await expect(buildWebImage({ random: systemRandom, run: withoutMmio }, options)).rejects.toMatchObject({
      code: 'guest_kernel_unsuitable',
      message: expect.stringContaining('virtio_mmio'),
    });
  });

  test('an abort ends the build and leaves nothing behind', async () => {
    const abort = new AbortController();
    const onProgress = ({ done }: { done: number }) => {
      if (done === 5) abort.abort(new Error('enough'));
    };
    await expect(build({ signal: abort.signal, onProgress })).rejects.toThrow('enough');
    expect((await readdir(folder)).toSorted()).toEqual(['cache', 'content']);
  });
});
