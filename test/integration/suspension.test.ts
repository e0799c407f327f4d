import { mkdtempSync, rmSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { orilla } from '../support/orilla-command.ts';
import { rootedImage } from '../support/rooted-image.ts';
import { machinesIn, PATIENCE_MS, RunningOrilla } from '../support/running-orilla.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { TestOrigin } from '../support/test-origin.ts';
import { needs } from '../support/tools.ts';

const IDLE_MS = 1500;

needs('qemu-system-x86_64')('VMs that make room for others', () => {
  let origin: TestOrigin;
  let images: string;
  let folder: string;
  let image: string;

  beforeAll(async () => {
    origin = await TestOrigin.start();
    images = mkdtempSync(join(tmpdir(), 'o-'));
    image = (await rootedImage(join(images, 'rooted'))).folder;
    // Another digest, the same guest.
    await rootedImage(join(images, 'second'), (init) => `${init}\n# the second\n`);
  });
  afterAll(async () => {
    await origin?.[Symbol.asyncDispose]();
    rmSync(images, { recursive: true, force: true });
  });
  beforeEach(async () => {
    folder = await temporaryFolder();
  });

  const start = (pool: object = {}) =>
    RunningOrilla.start({ folder, origins: { photos: { port: origin.port } }, pool });
  const vmCommand = async ({ data }: RunningOrilla, ...args: string[]) => {
    const ended = await orilla('vm', args[0]!, '--data', data, ...args.slice(1));
    expect(ended, args.join(' ')).toMatchObject({ code: 0, stderr: expect.any(String) });
    return ended.stdout;
  };
  const run = (edge: RunningOrilla, name: string, ...more: string[]) =>
    vmCommand(edge, 'run', name, '--origin', 'photos', '--image', image, ...more);
  const inside = async (edge: RunningOrilla, body: string) =>
    (await edge.visit('photos.example', '/cgi-bin/run', { method: 'POST', body })).body;

  test('go to sleep when nobody asks them anything, and the next request wakes them as they were', async () => {
    await using edge = await start({ suspendAfter: `${IDLE_MS} ms` });
    expect(await run(edge, 'photos')).toMatch(/^photos is ready after .* \(image .*, start .*; TCG\)\n$/);
    await inside(edge, 'echo kept >/tmp/word');
    const asleep = await edge.untilPhase('photos', 'suspended');
    expect(asleep.suspendedBy).toBe('idleness');
    expect(machinesIn(folder)).toEqual([]);
    // All at once: each waits for the same machine; on a host that is too busy the origin answers.
    await Promise.all(Array.from({ length: 5 }, () => inside(edge, 'cat /tmp/word')));
    const vm = await edge.untilPhase('photos', 'ready');
    expect(vm).toMatchObject({ restarts: 0, lastStart: { origin: 'saved' } });
    // It may have gone to sleep once more.
    const asked = () => inside(edge, 'cat /tmp/word; hostname');
    await expect.poll(asked, { timeout: PATIENCE_MS }).toBe('kept\nphotos\n');
  });

  test('are suspended and resumed by command, also over an end of Orilla by kill -9 [desktop D6]', async () => {
    await using killed = await start();
    await run(killed, 'photos', '--disk', '8 MiB');
    await inside(killed, 'echo ink >/tmp/word; echo ink >/dev/vda; sync');
    expect(await vmCommand(killed, 'suspend', 'photos')).toMatch(/^suspended photos in /);
    expect((await killed.visit('photos.example')).servedBy).toBe('origin');
    expect(await vmCommand(killed, 'ls')).toMatch(/suspended \(operator\)/);
    killed.signal('SIGKILL');
    await killed.ended;

    await using edge = await start();
    await edge.untilPhase('photos', 'suspended');
    expect(await vmCommand(edge, 'resume', 'photos')).toMatch(/^photos is ready after /);
    expect(await inside(edge, 'cat /tmp/word; head -c 3 /dev/vda')).toBe('ink\nink');
    const [found, now] = (await inside(edge, 'date +%s'))
      .trim()
      .split('\n')
      .map(Number)
      .concat(Date.now() / 1000);
    expect(Math.abs((found ?? 0) - (now ?? 0))).toBeLessThan(3600);
  });

  test('have snapshots, to which they go back with memory and disk', async () => {
    await using edge = await start();
    await run(edge, 'photos', '--disk', '8 MiB');
    const write = (word: string) => inside(edge, `echo ${word} >/tmp/word; echo ${word} >/dev/vda; sync`);
    await write('first');
    expect(await vmCommand(edge, 'snapshot', 'photos', '--as', 'before')).toMatch(
      /^snapshot before of photos, /,
    );
    await write('other');
    expect(await vmCommand(edge, 'snapshot', 'photos', '--ls')).toMatch(/^LABEL +TAKEN .*\nbefore /);
    await vmCommand(edge, 'resume', 'photos', '--snapshot', 'before');
    expect(await inside(edge, 'cat /tmp/word; head -c 5 /dev/vda')).toBe('first\nfirst');
    await vmCommand(edge, 'snapshot', 'photos', '--rm', 'before');
    await vmCommand(edge, 'stop', 'photos');
    expect(await readdir(join(edge.data, 'saved'))).toEqual([]);
    expect(await readdir(join(edge.data, 'vms'))).toEqual([]);
  });

  test('are upgraded all at once, and keep what is on their disks [desktop D17]', async () => {
    await using edge = await start();
    for (const name of ['photos', 'films']) {
      await run(edge, name, '--disk', '8 MiB');
      const guest = `${name}.edge.example`;
      await edge.visit(guest, '/cgi-bin/run', { method: 'POST', body: `echo ${name} >/dev/vda; sync` });
    }
    const { imageDigest = '' } = await edge.untilPhase('films', 'ready');
    const upgraded = await vmCommand(edge, 'upgrade', '--from', imageDigest, '--to', join(images, 'second'));
    expect(upgraded).toMatch(/photos +upgraded\n/);
    expect(upgraded).toMatch(/films +upgraded\n2 of 2 upgraded\n$/);
    for (const name of ['photos', 'films']) {
      const vm = await edge.untilPhase(name, 'ready');
      expect(vm).toMatchObject({ version: 2, previous: { version: 1 } });
      const question = { method: 'POST', body: `head -c ${name.length} /dev/vda` };
      const answer = await edge.visit(`${name}.edge.example`, '/cgi-bin/run', question);
      expect(answer.body).toBe(name);
    }
  });
});
