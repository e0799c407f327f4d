import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Finding } from '../../src/edge/index.ts';
import type { Status } from '../../src/edge/schema.ts';
import type { Image, Vm } from '../../src/pool/schema.ts';
import { freePortOffset } from '../support/free-ports.ts';
import { type Ended, OrillaCommand, orilla, STACK_TRACE } from '../support/orilla-command.ts';
import { RunningOrilla } from '../support/running-orilla.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { TestOrigin } from '../support/test-origin.ts';
import { needs } from '../support/tools.ts';
import { VmApiClient } from '../support/vm-api-client.ts';
import { testCache, variantOf, type WebImage, webImage } from '../support/web-image.ts';

const ESCAPES = '\u001B]0;owned\u0007\u001B[31m\u009B31m';
const CONTROL = /[^\t\n\u0020-\u007E\u00A0-\uFFFF]/;

const expectFailure = (ended: Ended, code: number, message: RegExp) => {
  expect(ended.stderr).toMatch(message);
  expect(ended.stderr).not.toMatch(STACK_TRACE);
  expect(ended).toMatchObject({ code, stdout: '' });
};

describe('orilla', () => {
  test.for([
    [['--help'], /Usage: orilla .*Examples:.*Exit status: 0 done, 1 failed, 2 wrong usage/s],
    [['up', '--help'], /A smallest configuration:/],
    [['image', 'build', '--help'], /--content <folder>/],
    [['--version'], /^\d+\.\d+\.\d+\n$/],
  ] as const)('%j explains itself', async ([args, text]) => {
    const ended = await orilla(...args);
    expect(ended).toMatchObject({ code: 0, stderr: '' });
    expect(ended.stdout).toMatch(text);
  });

  test('keeps what Node compiled of it in a data folder that is only its own to write to', async () => {
    const data = join(await temporaryFolder(), 'data');
    const ls = () => orilla('vm', 'ls', '--data', data);
    await ls();
    expect(existsSync(data)).toBe(false);
    await mkdir(data);
    await chmod(data, 0o777);
    await ls();
    expect(await readdir(data)).toEqual([]);
    await chmod(data, 0o750);
    await ls();
    expect(await readdir(join(data, 'cache', 'node'))).not.toEqual([]);
  });

  test.for([
    [['fly'], /unknown command 'fly'/],
    [['vm', 'ls', '--jsn'], /unknown option '--jsn'/],
    [['vm', 'stop'], /missing required argument 'name'/],
    [['image', 'build', 'web'], /--out/],
    [['image', 'build', 'desk', '--out', 'x'], /no recipe "desk"; there is "web"/],
    [['image', 'rm', 'photos'], /expected 8 to 64 hexadecimal digits/],
    [['image', 'import', 'x', '--digest', 'md5:1'], /expected sha256: and 64 hexadecimal digits/],
    [['image', 'import', 'http://'], /expected a folder or the URL of one/],
    [['up', '--port-offset', '-1'], /--port-offset: got "-1", expected a whole number from 0 to 57000/],
  ] as const)('%j is wrong usage: says what was expected, status 2', async ([args, message]) => {
    expectFailure(await orilla(...args), 2, message);
  });

  test.for([
    ['vm', 'ls'],
    ['vm', 'ls', '--json'],
    ['vm', 'stop', 'photos'],
    ['vm', 'logs', 'photos'],
    ['gateway', 'status'],
  ])('%j says that none runs, and where it looked', async (args) => {
    const folder = await temporaryFolder();
    expectFailure(await orilla(...args, '--data', folder), 1, new RegExp(`no Orilla runs on ${folder}`));
  });
});

describe('orilla doctor', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await temporaryFolder();
  });

  const examine = async (env: NodeJS.ProcessEnv = {}, offset = 0) => {
    const args = ['doctor', '--json', '--data', join(folder, 'data'), '--port-offset', String(offset)];
    const { code, stdout, stderr } = await new OrillaCommand(args, { env }).ended;
    const findings = JSON.parse(stdout) as Finding[];
    expect(stderr).toBe('');
    expect(code).toBe(findings.some(({ state }) => state === 'bad') ? 1 : 0);
    return (subject: string) => findings.find((finding) => finding.subject === subject);
  };

  test('finds what is there', async () => {
    const offset = await freePortOffset();
    const finding = await examine({}, offset);
    expect(finding('Node.js')).toEqual({ subject: 'Node.js', state: 'good', finding: process.version });
    for (const port of [8080, 8081, 8088])
      expect(finding(`port ${port + offset}`)).toMatchObject({ state: 'good' });
    expect(finding('data folder')).toMatchObject({
      finding: expect.stringContaining('no Orilla runs on it'),
    });
    expect(finding('accelerator')).toMatchObject({ finding: expect.stringContaining('not known yet') });
  });

  test('finds what is missing, and what to do about it', async () => {
    const offset = await freePortOffset();
    const other = createServer().listen(8081 + offset);
    await once(other, 'listening');
    await mkdir(join(folder, 'empty'));
    await writeFile(join(folder, 'data'), 'a file');
    try {
      const finding = await examine({ PATH: join(folder, 'empty') }, offset);
      expect(finding('QEMU')).toMatchObject({
        state: 'bad',
        advice: expect.stringContaining('apt-get install'),
      });
      expect(finding(`port ${8081 + offset}`)).toMatchObject({
        state: 'bad',
        finding: 'taken; the VM API wants it',
        advice: expect.stringContaining('--port-offset'),
      });
      expect(finding('disk')).toMatchObject({ state: 'bad', advice: expect.stringContaining('--data') });
      expect(finding('image builder')).toMatchObject({ state: 'notable' });
    } finally {
      other.close();
    }
  });
});

needs('qemu-system-x86_64', 'apt-get')('orilla image', () => {
  let image: WebImage;
  let folder: string;
  beforeAll(async () => {
    image = await webImage();
  });
  beforeEach(async () => {
    folder = await temporaryFolder();
  });

  const run = (...args: string[]) => orilla('image', ...args, '--data', join(folder, 'data'));
  const list = async () => JSON.parse((await run('ls', '--json')).stdout) as Image[];

  test('build writes an image and tells its digest', async () => {
    await writeFile(join(folder, 'index.html'), 'hello');
    await mkdir(join(folder, 'data'));
    await symlink(testCache(), join(folder, 'data', 'cache'));
    await mkdir(join(folder, 'site'));
    await writeFile(join(folder, 'site', 'index.html'), 'hello');
    const out = join(folder, 'out');
    const built = await run(
      'build',
      'web',
      '--name',
      'hello',
      '--content',
      join(folder, 'site'),
      '--out',
      out,
    );
    expect(built).toMatchObject({ code: 0 });
    const [digest] = built.stdout.split(' ');
    expect(JSON.parse(await readFile(join(out, 'image.json'), 'utf8'))).toMatchObject({ name: 'hello' });
    expect(await run('import', out, '--digest', digest ?? '')).toMatchObject({ code: 0 });
  });

  test('import from a folder, ls, and rm by the first digits', async () => {
    const imported = await run('import', image.folder, '--digest', image.digest);
    expect(imported).toMatchObject({ code: 0, stdout: expect.stringContaining(image.digest) });
    expect(await list()).toMatchObject([{ name: 'web', digest: image.digest }]);
    expect((await run('ls')).stdout).toMatch(new RegExp(`^NAME .*\\nweb +${image.digest.slice(0, 19)} `));

    expect(await run('rm', image.digest.slice(7, 19))).toMatchObject({ code: 0 });
    expect(await list()).toEqual([]);
    expect((await run('ls')).stdout).toMatch(/^no images: /);
    expectFailure(await run('rm', image.digest), 1, /no image sha256:[0-9a-f]{64} is stored here/);
  });

  test('import from a URL', async () => {
    await using origin = await TestOrigin.start();
    origin.images['web'] = image.folder;
    expect(await run('import', origin.imageUrl('web'))).toMatchObject({ code: 0 });
    expect(await list()).toMatchObject([{ digest: image.digest }]);
    expectFailure(await run('import', origin.imageUrl('none')), 1, /image\.json answered 404; expected 200/);
  });

  test('import of what is not what it should be keeps nothing, and prints no terminal escapes', async () => {
    const wrong = `sha256:${'0'.repeat(64)}`;
    expectFailure(await run('import', image.folder, '--digest', wrong), 1, /has the digest .*; expected/);
    await writeFile(join(folder, 'image.json'), ESCAPES);
    const ended = await run('import', folder);
    expectFailure(ended, 1, /image\.json is not JSON/);
    expect(ended.stderr).not.toMatch(CONTROL);
    expectFailure(await run('import', join(folder, 'none')), 1, /holds no image\.json/);
    expect(await readdir(join(folder, 'data', 'images'))).toEqual([]);
  });
});

needs('qemu-system-x86_64')('orilla beside one that runs', () => {
  let folder: string;
  let origin: TestOrigin;
  let running: RunningOrilla;
  beforeAll(async () => {
    const image = await webImage();
    folder = mkdtempSync(join(tmpdir(), 'o-'));
    origin = await TestOrigin.start();
    // Its kernel prints its options, and so what an image's maker put among them.
    origin.images['loud'] = (
      await variantOf(image, join(folder, 'loud'), (manifest) => ({
        ...manifest,
        commandLine: `${manifest.commandLine.replace('quiet ', '')} ${ESCAPES}`,
      }))
    ).folder;
    origin.images['bad'] = (_request, response) => void response.end(ESCAPES);
    running = await RunningOrilla.start({ folder, origins: { photos: { port: origin.port } } });
    const api = new VmApiClient(running, 'photos');
    for (const name of ['loud', 'bad']) await api.load({ name, imageRef: origin.imageUrl(name) });
    await running.untilPhase('loud', 'ready');
    await running.untilPhase('bad', 'failed');
  });
  afterAll(async () => {
    await running?.[Symbol.asyncDispose]();
    await origin?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });
  const run = (...args: string[]) => orilla(...args, '--data', running.data);

  test('vm ls shows the VMs, as a table and as JSON, without terminal escapes', async () => {
    const table = await run('vm', 'ls');
    expect(table).toMatchObject({ code: 0, stderr: '' });
    expect(table.stdout).toMatch(/^NAME +ORIGIN +PHASE .*\n/);
    expect(table.stdout).toMatch(/^loud +photos +ready /m);
    expect(table.stdout).toMatch(/^bad +photos +failed .*image\.json is not JSON/m);
    const json = await run('vm', 'ls', '--json');
    expect(JSON.parse(json.stdout) as Vm[]).toMatchObject([
      { name: 'loud', accelerator: 'tcg' },
      { name: 'bad' },
    ]);
    for (const { stdout } of [table, json]) expect(stdout).not.toMatch(CONTROL);
  });

  test('vm logs shows the guest’s console, without terminal escapes', async () => {
    const { code, stdout } = await run('vm', 'logs', 'loud');
    expect(code).toBe(0);
    expect(stdout).toContain('orilla-guest: up');
    // It was there: what remains of the escapes is their text.
    expect(stdout).toMatch(/Kernel command line: .*\]0;owned\[31m/);
    expect(stdout).not.toMatch(CONTROL);
  });

  test('gateway status tells of each site who serves it and what the edge has saved', async () => {
    for (let i = 0; i < 3; i += 1) await running.visit('photos.example');
    const table = await run('gateway', 'status');
    expect(table).toMatchObject({ code: 0, stderr: '' });
    expect(table.stdout).toMatch(/^SITE +SERVED BY +OFFLOAD .*\nphotos +vm\/loud +ready +\d+ % +\d+ /);
    const [site] = JSON.parse((await run('gateway', 'status', '--json')).stdout) as Status['origins'];
    expect(site?.requests.vm).toBeGreaterThanOrEqual(3);
    expect(site?.bytes.vm).toBeGreaterThan(0);
    expect(site?.firstByteMs.vm).toBeGreaterThan(0);
  });

  test('image rm refuses an image that a VM runs from; vm stop frees it', async () => {
    const { vms } = await running.status();
    const digest = vms.find(({ name }) => name === 'loud')?.imageDigest ?? '';
    expectFailure(await run('image', 'rm', digest), 1, /the VM loud needs it; "orilla vm stop loud" first/);
    expect(await run('vm', 'stop', 'loud')).toMatchObject({ code: 0, stdout: 'stopped loud\n' });
    expectFailure(await run('vm', 'stop', 'loud'), 1, /no VM is named "loud"/);
    expectFailure(await run('vm', 'logs', 'loud'), 1, /no VM is named "loud"/);
    expect(await run('image', 'rm', digest)).toMatchObject({ code: 0 });
    expect(await running.visit('photos.example')).toMatchObject({ servedBy: 'origin' });
  });

  test('doctor knows that it runs, and does not take its ports for another’s', async () => {
    const { stdout } = await run('doctor', '--json');
    const findings = JSON.parse(stdout) as Finding[];
    expect(findings.find(({ subject }) => subject === 'data folder')).toMatchObject({
      finding: expect.stringContaining('an Orilla runs on it'),
    });
    expect(findings.filter(({ subject }) => subject.startsWith('port '))).toEqual([]);
  });
});
