import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../src/base/index.ts';
import { endProcess } from '../../src/platform/process/index.ts';
import { type Machine, QemuHypervisor, type StoredImage, VmDisks } from '../../src/pool/index.ts';
import { probeHttp, untilReady } from '../../src/pool/readiness.ts';
import type { Configuration, ImageDisk } from '../../src/pool/schema.ts';
import { QEMU_DEPS } from '../support/qemu-deps.ts';
import { rootedImage } from '../support/rooted-image.ts';
import { machinesIn, PATIENCE_MS, RunningOrilla } from '../support/running-orilla.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { TestOrigin } from '../support/test-origin.ts';
import { needs } from '../support/tools.ts';
import { VmApiClient } from '../support/vm-api-client.ts';
import { storedImage, variantOf } from '../support/web-image.ts';

const MIB = 2 ** 20;
const CONFIGURATION: Configuration = { cpus: 1, memoryBytes: 192 * MIB, diskBytes: 8 * MIB };

needs('qemu-system-x86_64', 'qemu-img')('the disks of a VM', () => {
  let folder: string;
  const running: Machine[] = [];
  const signal = () => AbortSignal.timeout(PATIENCE_MS);

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'o-'));
  });
  afterEach(async () => {
    await Promise.all(running.splice(0).map((machine) => machine.stop()));
  });
  afterAll(async () => {
    await Promise.all(machinesIn(folder).map((machine) => endProcess(systemClock, machine, 0)));
    rmSync(folder, { recursive: true, force: true });
  });

  test('keep what its guest wrote when its machine dies and when Orilla ends, and go with it [gateway G6]', async () => {
    await using origin = await TestOrigin.start();
    origin.images['web'] = (await rootedImage(join(folder, 'rooted'))).folder;
    const home = await temporaryFolder();
    const start = () =>
      RunningOrilla.start({
        folder: home,
        gateway: { workers: 1 },
        pool: { configurations: { small: { memory: '192MiB', disk: '8MiB' } } },
        origins: { photos: { port: origin.port } },
      });
    const inside = async (orilla: RunningOrilla, body: string) =>
      (await orilla.visit('photos.example', '/cgi-bin/run', { method: 'POST', body })).body;
    const read = 'head -c 4 /dev/vda';
    const dataDisk = join(home, 'data', 'vms', 'photos', 'data.raw');
    {
      await using orilla = await start();
      const api = new VmApiClient(orilla, 'photos');
      const vm = { name: 'photos', imageRef: origin.imageUrl('web') };
      expect(await api.load(vm, { prefer: 'wait=60' })).toMatchObject({ status: 201 });
      await inside(orilla, 'printf kept | dd of=/dev/vda conv=notrunc,fsync 2>/dev/null');
      const { pid } = await orilla.untilPhase('photos', 'ready');
      process.kill(pid ?? 0, 'SIGKILL');
      await orilla.untilVm('photos', 'started again', (next) => next.phase === 'ready' && next.pid !== pid);
      expect(await inside(orilla, read)).toBe('kept');
      expect(await orilla.stop()).toMatchObject({ code: 0, stderr: '' });
    }
    await using orilla = await start();
    await orilla.untilPhase('photos', 'ready');
    expect(await inside(orilla, read)).toBe('kept');
    expect(readFileSync(dataDisk).subarray(0, 4).toString()).toBe('kept');
    expect(await new VmApiClient(orilla, 'photos').remove('photos')).toBe(204);
    await expect.poll(() => existsSync(dataDisk), { timeout: PATIENCE_MS }).toBe(false);
  });

  test("come in order: its own, then its image's, of which it writes to copies only", async () => {
    const image = await imageWithDisks();
    const hypervisor = new QemuHypervisor(QEMU_DEPS, join(folder, 'run'));
    const digests = () =>
      image.diskPaths.map((path) => createHash('sha256').update(readFileSync(path)).digest('hex'));
    const before = digests();
    const disks = await new VmDisks(join(folder, 'vms')).prepare('photos', image, CONFIGURATION, signal());
    async function start(): Promise<Machine> {
      const spec = { name: 'photos', image, configuration: CONFIGURATION, disks };
      const machine = await hypervisor.start(spec, signal(), async () => undefined);
      running.push(machine);
      await untilReady(systemClock, probeHttp, machine.addresses[0], '/', signal());
      return machine;
    }
    const inside = async ({ addresses: [{ host, port }] }: Machine, body: string) =>
      (await fetch(`http://${host}:${port}/cgi-bin/run`, { method: 'POST', body, signal: signal() })).text();
    const look = `echo 3 >/proc/sys/vm/drop_caches
      for disk in a b c d e; do cat /sys/block/vd$disk/size; head -c 5 /dev/vd$disk | tr '\\0' .; echo; done`;

    const first = await start();
    expect((await inside(first, look)).split('\n')).toEqual([
      ...[
        String(16 * 1024),
        '.....',
        '4096',
        'disk0',
        '6144',
        'disk1',
        '8192',
        'disk2',
        '10240',
        'disk3',
        '',
      ],
    ]);
    await inside(
      first,
      'for disk in a b c d e; do printf own$disk | dd of=/dev/vd$disk conv=notrunc,fsync; done',
    );
    await first.suspend(join(folder, 'saved'), signal());

    // What is in the header of an overlay, where a QEMU that was taken over can write, is not followed.
    for (const { path } of disks.slice(1)) {
      execFileSync('qemu-img', ['rebase', '-u', '-f', 'qcow2', '-F', 'raw', '-b', '/nowhere', path]);
    }
    const again = await start();
    expect((await inside(again, look)).split('\n').filter((line) => line.startsWith('own'))).toEqual([
      ...['owna.', 'ownb0', 'ownc1', 'ownd2', 'owne3'],
    ]);
    expect(digests()).toEqual(before);
  });

  /** With four disks, two of them raw; each begins with its name. */
  async function imageWithDisks(): Promise<StoredImage> {
    const web = await rootedImage(join(folder, 'rooted'));
    const place = join(folder, 'with-disks');
    const disks = [0, 1, 2, 3].map((index): { readonly disk: ImageDisk; readonly octets: Buffer } => {
      const format = index < 2 ? 'raw' : 'qcow2';
      const raw = join(folder, `disk${index}.raw`);
      const virtualSizeBytes = (2 + index) * MIB;
      const content = Buffer.alloc(virtualSizeBytes);
      content.write(`disk${index}`);
      writeFileSync(raw, content);
      const path = join(folder, `disk${index}.${format}`);
      if (format === 'qcow2') execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, path]);
      const octets = readFileSync(path);
      const sha256 = createHash('sha256').update(octets).digest('hex');
      return {
        disk: { file: `disk${index}.${format}`, sizeBytes: octets.length, sha256, format, virtualSizeBytes },
        octets,
      };
    });
    const variant = await variantOf(web, place, (manifest) => ({
      ...manifest,
      disks: disks.map(({ disk }) => disk),
    }));
    for (const { disk, octets } of disks) writeFileSync(join(place, disk.file), octets);
    return storedImage(variant, join(folder, 'images'));
  }
});
