import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createHash, generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { opensshKey } from '../../src/gateway/remote-commands/openssh-key.ts';
import { packagePath } from '../../src/platform/process/index.ts';
import { orilla } from '../support/orilla-command.ts';
import { RunningOrilla } from '../support/running-orilla.ts';
import { needs } from '../support/tools.ts';
import { VmApiClient } from '../support/vm-api-client.ts';
import { webImage } from '../support/web-image.ts';

const BOOK = 'guest-book.example';

let folder: string;
let file: string;
let digest: string;
let signature: string;
let edge: RunningOrilla;
let provider: ChildProcess;
let providerLog = '';

/** A port that is free at this moment. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

needs(
  'qemu-system-x86_64',
  'apt-get',
  'ssh',
)('an application for a VM that runs', () => {
  let api: VmApiClient;
  let port: number;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'o-'));
    file = join(folder, 'guest-book.tar');
    const key = join(folder, 'guest-book.key');
    const application = packagePath('examples', 'running-vm', 'application');
    await orilla('app', 'key', '--out', key);
    await orilla('app', 'pack', application, '--out', file, '--key', key);
    digest = `sha256:${createHash('sha256').update(readFileSync(file)).digest('hex')}`;
    signature = readFileSync(`${file}.sig`, 'utf8').trim();
    const image = await webImage();
    const provided = join(folder, 'provided');
    mkdirSync(provided);
    cpSync(image.folder, join(provided, 'web'), { recursive: true });
    cpSync(file, join(provided, 'guest-book.tar'));
    const sshKey = opensshKey(generateKeyPairSync('ed25519').privateKey);
    writeFileSync(join(folder, 'ssh-key'), sshKey.privateKey, { mode: 0o600 });
    port = await freePort();
    edge = await RunningOrilla.start({
      folder,
      origins: {
        'guest-book': {
          port,
          offload: { applicationKeys: ['guest-book.key.pub'], sshKeys: [sshKey.publicKey] },
        },
        other: { port },
      },
      gateway: {
        remoteCommands: { ssh: { listen: '127.0.0.1:0' }, telnet: { listen: '127.0.0.1:0' } },
      },
      pool: { imageDirectory: provided },
    });
    api = new VmApiClient(edge, 'guest-book');
    provider = spawn(
      process.execPath,
      [
        ...['--conditions=orilla-source', packagePath('examples', 'running-vm', 'server.ts')],
        ...[join(folder, 'guest-book.token'), `127.0.0.1:${edge.apiPort}`, file, String(port)],
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    provider.stdout?.setEncoding('utf8').on('data', (text: string) => {
      providerLog += text;
    });
    await edge.until('the provider’s server is up', () => providerLog.includes('http://') || undefined);
    const virtualmachine = { name: 'book', imageRef: 'web', scope: { needs: 'application' } };
    expect(await api.load(virtualmachine, { prefer: 'wait=60' })).toMatchObject({ status: 201 });
  });
  afterAll(async () => {
    provider?.kill();
    await edge?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });
  afterEach(async () => {
    await api.ask('/book/application', { method: 'DELETE', headers: { prefer: 'wait=60' } });
  });

  const untilVmServes = () =>
    edge.until('the VM serves', async () => {
      const answer = await edge.visit(BOOK);
      return answer.servedBy === 'vm/book' ? answer : undefined;
    });
  const put = (application: object, more: Readonly<Record<string, string>> = {}) =>
    api.ask('/book/application', {
      method: 'PUT',
      headers: { 'content-type': 'application/json', prefer: 'wait=60', ...more },
      body: JSON.stringify({ application }),
    });
  const url = () => `http://127.0.0.1:${port}/guest-book.tar`;
  const sshPort = () => String(edge.log.find(({ msg }) => msg === 'orilla is up')?.['sshPort']);
  const ssh = (command: string) =>
    new Promise<{ status: number | null; output: string; errors: string }>((resolve) => {
      const options = [
        ...['-F', 'none', '-i', join(folder, 'ssh-key'), '-p', sshPort(), '-o', 'BatchMode=yes'],
        ...['-o', 'StrictHostKeyChecking=accept-new', '-o', `UserKnownHostsFile=${join(folder, 'known')}`],
      ];
      const child = execFile('ssh', [...options, 'guest-book@127.0.0.1', command], (_error, output, errors) =>
        resolve({ status: child.exitCode, output, errors }),
      );
    });

  test('is put there by its provider once a visitor comes, and then serves [gateway G12] [gateway G13] [gateway G14] [gateway G15]', async () => {
    const first = await edge.visit(BOOK);
    expect(first).toMatchObject({
      status: 200,
      servedBy: 'origin',
      body: expect.stringContaining('in a moment'),
    });
    const { body } = await untilVmServes();
    expect(body).toContain('<h1>Guest book</h1>');
    expect(
      await edge.visit(BOOK, '/cgi-bin/book', { method: 'POST', body: 'line=Hello+from+here%21' }),
    ).toMatchObject({
      status: 303,
    });
    expect(await edge.visit(BOOK, '/cgi-bin/book')).toMatchObject({
      servedBy: 'vm/book',
      body: expect.stringContaining('<li>Hello from here!'),
    });
    expect(await api.get('book')).toMatchObject({
      application: { name: 'guest-book', version: '1.0', digest },
    });
    expect(providerLog).toContain(`127.0.0.1:${edge.apiPort} has book.edge.example`);
  });

  test('is asked for by an HTTP request that says where it is: a URL, or a file of the gateway [gateway G13]', async () => {
    for (const applicationRef of [url(), 'guest-book.tar']) {
      const answer = await put(
        { applicationRef, digest, signature },
        { 'idempotency-key': `"${applicationRef}"` },
      );
      expect(JSON.parse(answer.body)).toMatchObject({
        application: { status: 'running', name: 'guest-book', digest },
      });
      expect(await edge.visit(BOOK)).toMatchObject({ servedBy: 'vm/book' });
      const removed = await api.ask('/book/application', {
        method: 'DELETE',
        headers: { prefer: 'wait=60' },
      });
      expect(removed).toMatchObject({ status: 204 });
      expect(await api.ask('/book/application')).toMatchObject({ status: 404 });
    }
  });

  test('is asked for by a remote command line [gateway G13] [gateway G14]', async () => {
    expect(await ssh('application show book')).toMatchObject({ status: 1, output: '' });
    const deployed = await ssh(
      `application deploy book ${url()} --digest ${digest} --signature ${signature}`,
    );
    expect(deployed).toMatchObject({ status: 0, output: expect.stringContaining('status: succeeded\n') });
    expect(await edge.visit(BOOK)).toMatchObject({ servedBy: 'vm/book' });
    expect(await ssh('application show book')).toMatchObject({
      status: 0,
      output: expect.stringContaining(`digest: ${digest}\n`),
    });
    expect(await ssh('application remove book')).toMatchObject({ status: 0 });
    const audit = readFileSync(join(edge.data, 'audit.log'), 'utf8').trim().split('\n');
    expect(audit.map((line) => JSON.parse(line) as object)).toContainEqual(
      expect.objectContaining({
        who: 'origin:guest-book',
        what: 'application deploy',
        object: 'book',
        outcome: 'done',
        way: 'ssh',
      }),
    );
  });

  test('does not come into a VM without a key of its provider, nor altered, nor with a foreign signature', async () => {
    const other = new VmApiClient(edge, 'other');
    const wanted = { applicationRef: url(), digest, signature };
    const request = { method: 'PUT', headers: { 'content-type': 'application/json' } };
    const body = JSON.stringify({ application: wanted });
    expect(await other.ask('/book/application', { ...request, body })).toMatchObject({ status: 404 });
    const foreign = `${signature.startsWith('A') ? 'B' : 'A'}${signature.slice(1)}`;
    const refusals = [
      await put({ ...wanted, signature: foreign }),
      await put({ ...wanted, digest: `sha256:${'0'.repeat(64)}` }),
    ];
    for (const { status, body: said } of refusals) {
      expect(status, said).toBeGreaterThanOrEqual(400);
      expect(said).toMatch(/not signed|digest|sha256/);
    }
    expect(await api.get('book')).not.toHaveProperty('application');
  });
});
