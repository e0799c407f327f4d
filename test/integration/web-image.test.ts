import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemRandom } from '../../src/base/index.ts';
import { packagePath } from '../../src/platform/process/index.ts';
import { buildWebImage } from '../../src/pool/image-builder/index.ts';
import type { ImageManifest } from '../../src/pool/schema.ts';

const VIDEO = Buffer.alloc(3_000_000, 'video');
/** A first boot under emulation, on a machine that has other things to do. */
const BOOT_DEADLINE_MS = 60_000;
/** A guest on a busy host may hang before its first word; another attempt is quicker than a longer wait. */
const BOOT_ATTEMPTS = 3;

let folder: string;
let manifest: ImageManifest;
let qemu: ChildProcess;
let address: string;
let consoleText = '';

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'orilla-web-image-'));
  await mkdir(join(folder, 'content', 'clips'), { recursive: true });
  await writeFile(join(folder, 'content', 'index.html'), '<h1>From the content</h1>');
  await writeFile(join(folder, 'content', 'clips', 'video.mp4'), VIDEO);
  manifest = await build('image');
  await boot();
}, 300_000);

afterAll(async () => {
  await stop();
  await rm(folder, { recursive: true, force: true });
});

const build = (output: string) =>
  buildWebImage(
    { random: systemRandom },
    {
      name: 'photos',
      contentDirectory: join(folder, 'content'),
      outputDirectory: join(folder, output),
      cacheDirectory: process.env['ORILLA_TEST_CACHE'] ?? join(folder, 'cache'),
      recipeDirectory: packagePath('guest', 'web'),
    },
  );

async function boot(): Promise<void> {
  const image = join(folder, 'image');
  const layers = await Promise.all(manifest.initrd.map(({ file }) => readFile(join(image, file))));
  await writeFile(join(folder, 'initrd'), Buffer.concat(layers));
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort();
    address = `http://127.0.0.1:${port}`;
    consoleText = '';
    qemu = spawn(
      'qemu-system-x86_64',
      [
        ...['-machine', 'microvm,acpi=on,rtc=on', '-accel', 'tcg,thread=multi,tb-size=128', '-cpu', 'max'],
        ...['-smp', '1', '-m', `${manifest.minimumMemoryBytes / 2 ** 20}M`],
        ...['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none', '-serial', 'stdio'],
        ...['-kernel', join(image, manifest.kernel.file), '-initrd', join(folder, 'initrd')],
        ...['-append', `console=ttyS0 panic=-1 ${manifest.commandLine} ${clockOption()} orilla.name=edge-7`],
        ...['-netdev', `user,id=net0,restrict=on,hostfwd=tcp:127.0.0.1:${port}-:${manifest.http.port}`],
        ...['-device', 'virtio-net-device,netdev=net0'],
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    if (await untilUp(qemu)) return;
    await stop();
    if (attempt === BOOT_ATTEMPTS) throw new Error(`the guest did not come up: ${consoleText}`);
  }
}

/** Under emulation the guest's clock is the host's; a guest that has to measure it may hang (guest/web/README.md). */
function clockOption(): string {
  const megahertz = /^cpu MHz\s*:\s*(\d+(?:\.\d+)?)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1];
  return megahertz === undefined ? '' : `tsc_early_khz=${Math.round(Number(megahertz) * 1000)}`;
}

function untilUp(child: ChildProcess): Promise<boolean> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', () => resolve(false));
    AbortSignal.timeout(BOOT_DEADLINE_MS / BOOT_ATTEMPTS).addEventListener('abort', () => resolve(false));
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      consoleText += text;
      if (consoleText.includes('orilla-guest: up')) resolve(true);
    });
  });
}

async function stop(): Promise<void> {
  if (qemu?.pid === undefined || qemu.exitCode !== null || qemu.signalCode !== null) return;
  qemu.kill('SIGKILL');
  await once(qemu, 'exit');
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const bound = server.address();
  server.close();
  await once(server, 'close');
  return typeof bound === 'object' && bound !== null ? bound.port : 0;
}

const get = (path: string) => fetch(`${address}${path}`, { signal: AbortSignal.timeout(10_000) });

describe('the guest image web', () => {
  test('says on its console, once, that it is up', () => {
    expect(consoleText.match(/^orilla-guest: up\r?$/gm)).toHaveLength(1);
    expect(consoleText).not.toContain('unpacking failed');
  });

  test('serves the content at /', async () => {
    const response = await get('/');
    expect(response.status).toBe(200);
    expect(await response.text()).toBe('<h1>From the content</h1>');
  });

  test('serves a file of the content whole and with its media type', async () => {
    const response = await get('/clips/video.mp4');
    expect(response.headers.get('content-type')).toBe('video/mp4');
    expect(Buffer.from(await response.arrayBuffer()).equals(VIDEO)).toBe(true);
  });

  test('answers from inside: the name that it was started with, its own kernel and uptime', async () => {
    const first = await (await get('/cgi-bin/where')).json();
    expect(first).toEqual({
      name: 'edge-7',
      uptimeSeconds: expect.any(Number),
      kernel: Object.keys(manifest.sources)[0]?.replace('linux-image-', ''),
    });
    const second = await (await get('/cgi-bin/where')).json();
    expect((second as { uptimeSeconds: number }).uptimeSeconds).toBeGreaterThanOrEqual(
      (first as { uptimeSeconds: number }).uptimeSeconds,
    );
  });

  test('built again, in another folder and from touched files, it has the same digest', async () => {
    await utimes(join(folder, 'content', 'index.html'), 1000, 1000);
    expect(await build('again')).toEqual(manifest);
    const [first, second] = await Promise.all(
      ['image', 'again'].map((name) => readFile(join(folder, name, 'image.json'))),
    );
    expect(first).toEqual(second);
  });
});
