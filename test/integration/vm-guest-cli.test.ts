import { mkdtempSync, rmSync } from 'node:fs';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { orilla } from '../support/orilla-command.ts';
import { RunningOrilla } from '../support/running-orilla.ts';
import { TestOrigin } from '../support/test-origin.ts';
import { needs } from '../support/tools.ts';
import { VmApiClient } from '../support/vm-api-client.ts';
import { webImage } from '../support/web-image.ts';

needs('qemu-system-x86_64')('the command line to a VM that runs', () => {
  let folder: string;
  let origin: TestOrigin;
  let edge: RunningOrilla;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'o-'));
    origin = await TestOrigin.start();
    origin.images['web'] = (await webImage()).folder;
    edge = await start();
    const photos = new VmApiClient(edge, 'photos');
    const vm = { name: 'photos', imageRef: origin.imageUrl('web') };
    expect(await photos.load(vm, { prefer: 'wait=60' })).toMatchObject({ status: 201 });
  });
  afterAll(async () => {
    await edge?.[Symbol.asyncDispose]();
    await origin?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  const start = () => RunningOrilla.start({ folder, origins: { photos: { port: origin.port } } });
  const vm = (...args: string[]) => orilla('vm', args[0]!, '--data', edge.data, ...args.slice(1));
  const auditLines = async () =>
    (await readFile(join(edge.data, 'audit.log'), 'utf8'))
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, string>);

  test('runs a program in it: arguments, outputs and status are passed on as they are [gateway G14]', async () => {
    const script = 'printf "%s" "$1"; echo oops >&2; exit 9';
    expect(await vm('exec', 'photos', '--', 'sh', '-c', script, 'sh', '$(reboot) "\'\n')).toMatchObject({
      code: 9,
      stdout: '$(reboot) "\'\n',
      stderr: 'oops\n',
    });
    expect(await vm('exec', 'photos', '--limit', '200 ms', '--', 'sleep', '100')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('had not ended after 200 ms'),
    });
    expect(await vm('exec', 'photos', '--', 'head', '-c', '2000000', '/dev/zero')).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('was cut'),
    });
    expect((await vm('exec', 'films', '--', 'true')).stderr).toContain('no VM is named');
  });

  test('suspends and resumes it: it goes on as it was, and knows what time it is [desktop D6]', async () => {
    const script = 'echo kept >/run/word; date -s @1000000000';
    expect(await vm('exec', 'photos', '--', 'sh', '-c', script)).toMatchObject({ code: 0 });
    expect(await vm('suspend', 'photos')).toMatchObject({ code: 0 });
    expect(await vm('resume', 'photos')).toMatchObject({ code: 0 });
    await edge.untilPhase('photos', 'ready');
    const { stdout } = await vm('exec', 'photos', '--', 'sh', '-c', 'cat /run/word; date +%s');
    const [word, seconds] = stdout.split('\n');
    expect(word).toBe('kept');
    expect(Math.abs(Number(seconds) - Date.now() / 1000)).toBeLessThan(60);
  });

  test('makes keys and packs a folder, puts it into the VM, finds it there after kill -9, and takes it out again [gateway G14]', async () => {
    const site = join(folder, 'site');
    await mkdir(join(site, 'www'), { recursive: true });
    const manifest = { format: 'orilla.application/1', name: 'site', version: '1', static: 'www' };
    await writeFile(join(site, 'application.json'), JSON.stringify(manifest));
    await writeFile(join(site, 'www', 'index.html'), 'deployed\n');
    const [key, file] = [join(folder, 'key.pem'), join(folder, 'site.tar')];
    expect(await orilla('app', 'key', '--out', key)).toMatchObject({ code: 0 });
    expect((await stat(key)).mode & 0o777).toBe(0o600);
    expect(await orilla('app', 'key', '--out', key)).toMatchObject({ code: 1 });
    expect(await orilla('app', 'pack', site, '--out', file, '--key', key)).toMatchObject({ code: 0 });
    expect(await readFile(`${file}.sig`, 'utf8')).toMatch(/^[A-Za-z0-9+/]{86}==\n$/);

    expect(await vm('deploy', 'photos', file)).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^site 1 runs in photos {2}sha256:/),
    });
    expect(await edge.visit('photos.example')).toMatchObject({ status: 200, body: 'deployed\n' });
    expect((await vm('ls', '--json')).stdout).toContain('"application"');

    const { pid } = await edge.untilPhase('photos', 'ready');
    edge.signal('SIGKILL');
    await edge.ended;
    edge = await start();
    expect(await edge.untilPhase('photos', 'ready')).toMatchObject({
      pid,
      restarts: 0,
      application: { version: '1' },
    });
    expect(await edge.visit('photos.example')).toMatchObject({ status: 200, body: 'deployed\n' });

    expect(await vm('withdraw', 'photos')).toMatchObject({ code: 0 });
    await edge.until('the image serves again', async () =>
      (await edge.visit('photos.example')).body === 'from the VM\n' ? true : undefined,
    );
    expect((await vm('deploy', 'photos', join(folder, 'orilla.yaml'))).stderr).toContain(
      'not an application',
    );
  });

  test('leaves a line of each of it in the audit log, and of its end', async () => {
    expect(await vm('stop', 'photos')).toMatchObject({ code: 0 });
    const lines = await auditLines();
    const ended = lines.filter(({ outcome }) => outcome !== 'begun');
    expect(ended.map(({ who, what, object, outcome }) => [who, what, object, outcome])).toEqual([
      ['origin:photos', 'load', 'photos', 'done'],
      ['operator', 'exec', 'photos', 'done'],
      ['operator', 'exec', 'photos', 'guest_command_timeout'],
      ['operator', 'exec', 'photos', 'done'],
      ['operator', 'exec', 'films', 'vm_not_found'],
      ['operator', 'exec', 'photos', 'done'],
      ['operator', 'exec', 'photos', 'done'],
      ['operator', 'deploy', 'photos', 'done'],
      ['operator', 'withdraw', 'photos', 'done'],
      ['operator', 'stop', 'photos', 'done'],
    ]);
    expect(lines).toHaveLength(2 * ended.length);
    expect(JSON.parse(ended[1]?.['argv'] ?? '')).toContain('$(reboot) "\'\n');
  });
});
