import { createHash, generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { chmod, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemClock, systemRandom } from '../../src/base/index.ts';
import { runCommand } from '../../src/platform/process/index.ts';
import { openStore, type Store } from '../../src/platform/store/index.ts';
import { Registry, silentLog } from '../../src/platform/telemetry/index.ts';
import { packApplication } from '../../src/pool/applications/application-archive.ts';
import { readApplicationKey, signApplication } from '../../src/pool/applications/application-signature.ts';
import {
  ApplicationStore,
  ImageStore,
  Pool,
  type PoolTables,
  poolMigrations,
  QemuHypervisor,
  VmDisks,
} from '../../src/pool/index.ts';
import type { Operation, Vm } from '../../src/pool/schema.ts';
import { QEMU_DEPS } from '../support/qemu-deps.ts';
import { PATIENCE_MS } from '../support/running-orilla.ts';
import { TestOrigin } from '../support/test-origin.ts';
import { untilVm } from '../support/test-pool.ts';
import { needs } from '../support/tools.ts';
import { webImage } from '../support/web-image.ts';

const clock = systemClock;
const random = systemRandom;
const CONFIGURATION = { cpus: 1, memoryBytes: 192 * 2 ** 20, diskBytes: 0 };
const STATIC = { format: 'orilla.application/1', name: 'notes', static: '.' };
/** What a shell would make something else of. */
const SECRET = 'it\'s $(reboot) `reboot`; "two\nlines"';

/** A server of an application's own: it tells what it was given. */
const SERVER = `#!/bin/sh
mkdir -p /tmp/site
printf '%s|%s|%s|%s' "$VERSION" "$SECRET" "$1" "$(id -u)" >/tmp/site/index.html
exec httpd -f -p "$PORT" -h /tmp/site
`;

needs('qemu-system-x86_64')('an application in a VM that runs', () => {
  let folder: string;
  let origin: TestOrigin;
  let store: Store<PoolTables>;
  let pool: Pool;
  let hypervisor: QemuHypervisor;
  const keys = generateKeyPairSync('ed25519');
  const key = readApplicationKey(keys.publicKey.export({ type: 'spki', format: 'pem' }));

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'o-'));
    origin = await TestOrigin.start();
    origin.images['apps'] = join(folder, 'served');
    await mkdir(join(folder, 'served'));
    await mkdir(join(folder, 'provided'));
    hypervisor = new QemuHypervisor(QEMU_DEPS, join(folder, 'run'), join(folder, 'templates'));
    await startPool();
    const image = await webImage();
    origin.images['web'] = image.folder;
    await pool.create({
      name: 'notes',
      owner: 'notes',
      imageRef: origin.imageUrl('web'),
      configuration: CONFIGURATION,
    });
    await ready();
  }, PATIENCE_MS);
  afterAll(async () => {
    await pool?.close();
    await store?.close();
    await origin?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  async function startPool(): Promise<void> {
    store = await openStore<PoolTables>(join(folder, 'orilla.db'), poolMigrations);
    pool = await Pool.start(
      {
        clock,
        random,
        log: silentLog,
        registry: new Registry(),
        store,
        images: await ImageStore.open({ clock, random }, join(folder, 'images')),
        applications: new ApplicationStore({ clock, random }, join(folder, 'applications')),
        disks: new VmDisks(join(folder, 'vms')),
        hypervisor,
      },
      {
        imageDirectoryRoot: join(folder, 'provided'),
        imageHosts: () => [`127.0.0.1:${origin.port}`],
        maxVms: 4,
        maxVmsOf: () => 4,
        savedFolder: join(folder, 'saved'),
        readyTimeoutMs: 15_000,
      },
    );
  }
  const ready = () => untilVm(pool, 'notes', ({ phase }) => phase === 'ready');
  const addressOf = ({ addresses: [address] = [] }: Vm) => `http://${address?.host}:${address?.port}`;
  const visit = async (path = '/') =>
    (await fetch(`${addressOf(pool.get('notes'))}${path}`, { signal: AbortSignal.timeout(10_000) })).text();

  /** Packs the files as an application, and puts it where it can be fetched from. */
  async function pack(file: string, manifest: object, files: Record<string, string> = {}) {
    const source = mkdtempSync(join(tmpdir(), 'o-'));
    const whole = { format: 'orilla.application/1', name: 'notes', ...manifest };
    for (const [name, text] of Object.entries({ 'application.json': JSON.stringify(whole), ...files })) {
      await mkdir(dirname(join(source, name)), { recursive: true });
      await writeFile(join(source, name), text);
      await chmod(join(source, name), text.startsWith('#!') ? 0o755 : 0o644);
    }
    const { archive } = await packApplication(source);
    rmSync(source, { recursive: true });
    await Promise.all(['served', 'provided'].map((place) => writeFile(join(folder, place, file), archive)));
    const digest = `sha256:${createHash('sha256').update(archive).digest('hex')}`;
    const signature = signApplication({ digest, name: 'notes' }, keys.privateKey);
    return { digest, signature, url: origin.imageUrl(`apps/${file}`), directory: file };
  }
  const server = (version: string, more: object = {}) =>
    pack(
      `server-${version}.tar`,
      { version, run: ['./server', SECRET], env: { VERSION: version, SECRET }, ...more },
      { server: SERVER },
    );
  async function deploy(
    applicationRef: string,
    { signature, digest }: { signature: string; digest?: string },
    registered = [key],
  ): Promise<Operation> {
    const authority = { signature, keys: registered };
    const operation = await pool.deploy({ vm: 'notes', owner: 'notes', applicationRef, digest, authority });
    return pool.settled(operation, AbortSignal.timeout(PATIENCE_MS));
  }

  test('is fetched by its URL, checked, and serves in the place of what the image has [gateway G13][gateway G14]', async () => {
    expect(await visit()).toBe('from the VM\n');
    const application = await pack(
      'site.tar',
      { version: '2026.1', static: 'public' },
      { 'public/index.html': 'a site\n' },
    );
    expect(await deploy(application.url, application)).toMatchObject({ status: 'succeeded', kind: 'deploy' });
    expect(await visit()).toBe('a site\n');
    expect(pool.get('notes').application).toEqual({
      name: 'notes',
      version: '2026.1',
      digest: application.digest,
    });
  });

  test('is taken from a directory of the gateway, and its program gets its arguments as they are, as a user without rights [gateway G13][gateway G14]', async () => {
    const application = await server('1');
    expect(await deploy(application.directory, application)).toMatchObject({ status: 'succeeded' });
    expect(await visit()).toBe(`1|${SECRET}|${SECRET}|1000`);
  });

  test('gives way to a new version, and what was before is not kept in the guest', async () => {
    const application = await server('2');
    expect(await deploy(application.url, application)).toMatchObject({ status: 'succeeded' });
    expect(await visit()).toMatch(/^2\|/);
    const { stdout } = await pool.exec('notes', ['ls', '/srv'], { limitMs: 10_000, outputLimitBytes: 1000 });
    expect(Buffer.from(stdout).toString()).toBe(`${application.digest.slice(7)}\n`);
  });

  test('that does not answer is taken back with its last words told, and the one before serves on', async () => {
    const broken = await pack(
      'broken.tar',
      { version: '3', run: ['./server'] },
      { server: '#!/bin/sh\necho "no database here"; exit 3\n' },
    );
    const { status, reason } = await deploy(broken.url, broken);
    expect([status, reason]).toEqual([
      'failed',
      expect.stringMatching(/3 did not answer.*no database here/s),
    ]);
    expect(await visit()).toMatch(/^2\|/);
    expect(pool.get('notes')).toMatchObject({ phase: 'ready', restarts: 0, application: { version: '2' } });
  });

  test('is put in again when the machine is killed, before the VM counts as ready', async () => {
    const { pid = 0 } = pool.get('notes');
    process.kill(pid, 'SIGKILL');
    await untilVm(pool, 'notes', (vm) => vm.phase === 'ready' && vm.pid !== pid);
    expect(await visit()).toMatch(/^2\|/);
  });

  test('is in the VM after a restart of Orilla, and a deployment that was under way goes on', async () => {
    const application = await server('4');
    const authority = { signature: application.signature, keys: [key] };
    const once = { key: 'a', fingerprint: 'b' };
    const request = { vm: 'notes', owner: 'notes', applicationRef: application.url, authority };
    const operation = await pool.deploy(request, once);
    expect((await pool.deploy(request, once)).id).toBe(operation.id);
    await pool.close();
    await store.close();
    await startPool();
    await ready();
    const settled = await pool.settled(
      await pool.operation('notes', operation.id),
      AbortSignal.timeout(PATIENCE_MS),
    );
    expect(settled).toMatchObject({ status: 'succeeded' });
    expect(await visit()).toMatch(/^4\|/);
  });

  test('is refused when it is not signed by a key of its owner, or is another than was signed or asked for', async () => {
    const application = await server('5');
    const other = await server('6');
    const neverBrought = await server('7');
    const stranger = generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' });
    const refused = [
      await deploy(application.url, { signature: '' }),
      await deploy(application.url, application, [readApplicationKey(stranger)]),
      await deploy(application.url, application, []),
      await deploy(other.url, { signature: application.signature }),
      await deploy(other.url, neverBrought),
    ];
    expect(refused.map(({ status }) => status)).toEqual(Array(5).fill('failed'));
    expect(refused.map(({ reason }) => reason)).toEqual([
      ...Array(4).fill(expect.stringContaining('is not signed by any')),
      expect.stringContaining('expected sha256:'),
    ]);
    expect(await visit()).toMatch(/^4\|/);
  });

  test('is refused from elsewhere than its owner’s places', async () => {
    const application = await server('7');
    for (const ref of ['http://192.0.2.1/a.tar', '../orilla.db', `http://127.0.0.1:1/a.tar`]) {
      await expect(deploy(ref, application)).rejects.toMatchObject({ code: 'image_outside_root' });
    }
  });

  test('that is a hostile archive never gets into the guest', async () => {
    const source = join(folder, 'hostile');
    await mkdir(source);
    await writeFile(join(source, 'application.json'), JSON.stringify({ ...STATIC, version: '8' }));
    await symlink('/bin', join(source, 'link'));
    const tar = [
      '--format=ustar',
      '--create',
      '--file',
      join(folder, 'served', 'hostile.tar'),
      '--directory',
      source,
    ];
    await runCommand('tar', [...tar, 'application.json', 'link']);
    const octets = await readFile(join(folder, 'served', 'hostile.tar'));
    const digest = `sha256:${createHash('sha256').update(octets).digest('hex')}`;
    const signature = signApplication({ digest, name: 'notes' }, keys.privateKey);
    expect(await deploy(origin.imageUrl('apps/hostile.tar'), { signature })).toMatchObject({
      status: 'failed',
      reason: expect.stringContaining('"link" is neither a file nor a folder'),
    });
    expect(await visit()).toMatch(/^4\|/);
  });

  test('is taken out, and what the image serves is back', async () => {
    const operation = await pool.withdrawApplication('notes', 'notes');
    expect(await pool.settled(operation, AbortSignal.timeout(PATIENCE_MS))).toMatchObject({
      status: 'succeeded',
    });
    expect(await visit()).toBe('from the VM\n');
    expect(pool.get('notes').application).toBeUndefined();
    await expect(pool.withdrawApplication('notes', 'notes')).rejects.toMatchObject({
      code: 'application_not_found',
    });
  });
});
