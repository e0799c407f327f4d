import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CodedError } from '../../base/index.ts';
import { DebianPackages, type RunCommand } from './debian-package.ts';

const DEB = Buffer.from('!<arch>\n');
const stanza = (sha256: string) => `Package: busybox-static
Version: 1:1.35.0-4
Architecture: amd64
Depends: libc6 (>= 2.36), awk | mawk, linux-image-1 (= 1)
Description: a shell
 and more: Version: 9
Size: 8
SHA256: ${sha256}

Package: busybox-static
Version: 1:1.30
`;

let cacheDirectory: string;
let calls: string[];
/** What the commands do; a test puts its own in. */
let commands: Record<string, (cwd: string) => Promise<string> | string>;

const run: RunCommand = async (command, args, options) => {
  calls.push([command, ...args].join(' '));
  const stdout = await commands[command]?.(options?.cwd ?? '');
  if (stdout === undefined) throw new CodedError('command_missing', 503, `no ${command}`);
  return { stdout, stderr: '' };
};
const failed = (): never => {
  throw new CodedError('command_failed', 500, 'E: no');
};

let packages: DebianPackages;
beforeEach(async () => {
  cacheDirectory = await mkdtemp(join(tmpdir(), 'orilla-debian-'));
  calls = [];
  commands = {
    'apt-cache': () => stanza(createHash('sha256').update(DEB).digest('hex')),
    'apt-get': async (cwd) => {
      await writeFile(join(cwd, 'busybox-static_1%3a1.35.0-4_amd64.deb'), DEB);
      return '';
    },
  };
  packages = new DebianPackages({ run }, { cacheDirectory, architecture: 'amd64' });
});
afterEach(() => rm(cacheDirectory, { recursive: true }));

const fetchBusybox = async () => packages.fetch(await packages.find('busybox-static'));

describe('DebianPackages', () => {
  test('finds the newest version, where it comes first, and what it depends on', async () => {
    await expect(packages.find('busybox-static')).resolves.toMatchObject({
      version: '1:1.35.0-4',
      depends: ['libc6', 'awk', 'mawk', 'linux-image-1'],
    });
    expect(calls).toEqual(['apt-cache show --no-all-versions busybox-static:amd64']);
  });

  test('fetches exactly the version that was found, and leaves nothing else in the cache', async () => {
    const { path } = await fetchBusybox();
    expect(calls[1]).toBe('apt-get -q download busybox-static:amd64=1:1.35.0-4');
    expect(await readFile(path)).toEqual(DEB);
    expect(await readdir(cacheDirectory)).toEqual([
      'busybox-static_1%3a1.35.0-4_amd64.deb',
      'busybox-static_amd64.json',
    ]);
  });

  test('does not fetch what the cache holds', async () => {
    await fetchBusybox();
    delete commands['apt-get'];
    await expect(fetchBusybox()).resolves.toMatchObject({ name: 'busybox-static' });
  });

  test('fetches again when the file in the cache was damaged', async () => {
    const { path } = await fetchBusybox();
    await writeFile(path, 'half');
    await fetchBusybox();
    expect(await readFile(path)).toEqual(DEB);
  });

  test.each([
    ['has empty lists', failed],
    [
      'knows the package only because it is installed',
      () => 'Package: busybox-static\nVersion: 1:1.35.0-4\n',
    ],
  ])('builds from the cache when apt %s', async (_, aptCache) => {
    await fetchBusybox();
    commands = { 'apt-cache': aptCache };
    await expect(fetchBusybox()).resolves.toMatchObject({ version: '1:1.35.0-4' });
  });

  test('builds from the cache on a machine without apt', async () => {
    await fetchBusybox();
    commands = {};
    await expect(fetchBusybox()).resolves.toMatchObject({ version: '1:1.35.0-4' });
  });

  test('a package that neither apt nor the cache knows says to refresh the lists', async () => {
    commands['apt-cache'] = failed;
    await expect(fetchBusybox()).rejects.toMatchObject({
      code: 'package_unknown',
      message: expect.stringContaining('run "apt-get update"'),
    });
  });

  test('a machine without apt is told so', async () => {
    commands = {};
    await expect(fetchBusybox()).rejects.toMatchObject({ code: 'apt_missing' });
  });

  test('a download that fails asks for the network', async () => {
    commands['apt-get'] = failed;
    await expect(fetchBusybox()).rejects.toMatchObject({
      code: 'package_download_failed',
      message: expect.stringContaining('on-line'),
    });
    expect(await readdir(cacheDirectory)).toEqual(['busybox-static_amd64.json']);
  });

  test('a file with other octets than promised does not get into the cache', async () => {
    commands['apt-cache'] = () => stanza('0'.repeat(64));
    await expect(fetchBusybox()).rejects.toMatchObject({ code: 'package_damaged' });
    expect(await readdir(cacheDirectory)).toEqual(['busybox-static_amd64.json']);
  });
});
