import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Status } from '../../src/edge/schema.ts';
import { opensshKey } from '../../src/gateway/remote-commands/openssh-key.ts';
import { ask } from '../support/ask.ts';
import { type Ended, orilla, STACK_TRACE } from '../support/orilla-command.ts';
import { configuration, RunningOrilla } from '../support/running-orilla.ts';
import { TestOrigin } from '../support/test-origin.ts';
import { needs } from '../support/tools.ts';
import { webImage } from '../support/web-image.ts';

const PHOTOS = 'photos.example';
const NEWS = 'news.example';

let folder: string;
let photos: TestOrigin;
let news: TestOrigin;
let edge: RunningOrilla;

const start = () => RunningOrilla.start({ folder, origins: { photos: { port: photos.port } } });

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'o-'));
  photos = await TestOrigin.start('photos');
  news = await TestOrigin.start('news');
  edge = await start();
});
afterAll(async () => {
  await edge?.[Symbol.asyncDispose]();
  await photos?.[Symbol.asyncDispose]();
  await news?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const origin = (...args: string[]) => orilla('origin', ...args, '--data', edge.data);
const addNews = (...more: string[]) =>
  origin('add', 'news', '--host', NEWS, '--upstream', `http://127.0.0.1:${news.port}`, ...more);
const lastLine = ({ stdout }: Ended) => stdout.trim().split('\n').at(-1) ?? '';
const reached = () => news.requests.at(-1)?.headers ?? {};

/** The VM API as one who holds this token sees it. */
const vmApi = (token: string, body?: object) =>
  ask(edge.apiPort, '127.0.0.1', '/version1/virtualmachine', {
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    ...(body && { method: 'POST', body: JSON.stringify(body) }),
  });

/** By the id of the key that signed the tag which the origin saw last. */
async function signingKey(): Promise<string> {
  await edge.visit(NEWS);
  return /keyid="([^"]+)"/.exec(String(reached()['signature-input']))?.[1] ?? '';
}

const expectRefusal = (ended: Ended, code: number, message: RegExp) => {
  expect(ended.stderr).toMatch(message);
  expect(ended.stderr).not.toMatch(STACK_TRACE);
  expect(ended).toMatchObject({ code, stdout: '' });
};

describe('an origin that is added by command', () => {
  afterEach(async () => {
    await origin('rm', 'news');
  });

  test('is served and tagged at once, and may use the VM API with the token that was printed [gateway G4]', async () => {
    expect(await edge.visit(NEWS)).toMatchObject({ status: 404 });
    const added = await addNews();
    expect(added).toMatchObject({ code: 0, stderr: '' });
    expect(await edge.visit(NEWS)).toMatchObject({ status: 200, body: 'from news\n' });
    expect(reached()).toHaveProperty('bng-api-url', `127.0.0.1:${edge.apiPort}/version1/virtualmachine`);
    expect(await vmApi(lastLine(added))).toMatchObject({ status: 200 });
    expect(JSON.stringify(edge.log)).not.toContain(lastLine(added));
  });

  test('is in every list: orilla origin ls, orilla gateway status, the status page’s data', async () => {
    await addNews('--max-vms', '3', '--image-host', 'a.example', '--image-host', 'b.example:81');
    const table = await origin('ls');
    expect(table.stdout).toMatch(/^photos +photos\.example .* configuration +8 +0 +0 +one$/m);
    expect(table.stdout).toMatch(/^news +news\.example .* orilla origin add +3 +0 +0 +one$/m);
    expect(JSON.parse((await origin('ls', '--json')).stdout)).toMatchObject([
      { name: 'photos', source: 'configuration' },
      { name: 'news', offload: { maxVms: 3, imageHosts: ['a.example', 'b.example:81'] } },
    ]);
    const status = await orilla('gateway', 'status', '--json', '--data', edge.data);
    expect(JSON.parse(status.stdout) as Status['origins']).toMatchObject([
      { name: 'photos' },
      { name: 'news' },
    ]);
    expect((await edge.status()).origins).toMatchObject([
      { name: 'photos' },
      { name: 'news', hosts: [NEWS] },
    ]);
  });

  test('comes with keys for commands and applications, of which the list tells how many [gateway G13]', async () => {
    const sshKey = opensshKey(generateKeyPairSync('ed25519').privateKey);
    const lines = join(folder, 'authorized_keys');
    await writeFile(lines, `# of the provider\n${sshKey.publicKey} a\n\n${sshKey.publicKey} b\n`);
    const key = join(folder, 'app.key');
    expect(await orilla('app', 'key', '--out', key)).toMatchObject({ code: 0 });
    expect(await addNews('--ssh-key', lines, '--application-key', `${key}.pub`)).toMatchObject({ code: 0 });
    expect((await origin('ls')).stdout).toMatch(/^news .* orilla origin add +8 +2 +1 +one$/m);
    await origin('rm', 'news');
    expectRefusal(
      await addNews('--ssh-key', key),
      2,
      /--ssh-key: expected a line as in an authorized_keys file/,
    );
    expectRefusal(
      await addNews('--application-key', key),
      2,
      /--application-key: expected an Ed25519 public key, SPKI in PEM\n$/,
    );
    expectRefusal(await addNews('--ssh-key', join(folder, 'none')), 2, /--ssh-key: cannot read .*none/);
    expectRefusal(await addNews('--no-offload', '--ssh-key', lines), 2, /--no-offload: .* no --max-vms/);
  });

  test('gets another token in two steps, both accepted between them, and at once', async () => {
    const old = lastLine(await addNews());
    const oldKey = await signingKey();
    const fresh = lastLine(await origin('rotate', 'news'));
    expect(fresh).not.toBe(old);
    for (const token of [old, fresh]) expect(await vmApi(token)).toMatchObject({ status: 200 });
    expect(await signingKey()).toBe(oldKey);

    expect(await origin('rotate', 'news', '--finish')).toMatchObject({ code: 0, stderr: '' });
    expect(await vmApi(old)).toMatchObject({ status: 403 });
    expect(await vmApi(fresh)).toMatchObject({ status: 200 });
    const freshKey = await signingKey();
    expect(freshKey).not.toBe(oldKey);

    const last = lastLine(await origin('rotate', 'news', '--now'));
    expect(await vmApi(fresh)).toMatchObject({ status: 403 });
    expect(await vmApi(last)).toMatchObject({ status: 200 });
    expect(await signingKey()).not.toBe(freshKey);
  });

  test('is refused with the option, the value and what was expected', async () => {
    const upstream = ['--upstream', 'http://192.0.2.7'];
    expectRefusal(
      await origin('add', 'News', '--host', NEWS, ...upstream),
      2,
      /<name>: got "News": expected a DNS label/,
    );
    expectRefusal(
      await origin('add', 'news', '--host', 'NEWS', ...upstream),
      2,
      /--host: got "NEWS": expected a host name/,
    );
    expectRefusal(
      await origin('add', 'news', '--host', NEWS, '--upstream', 'x'),
      2,
      /--upstream: got "x": expected the URL/,
    );
    expectRefusal(await addNews('--max-vms', '1001'), 2, /--max-vms: got 1001: expected number to be <=1000/);
    expectRefusal(await addNews('--max-vms', 'x'), 2, /--max-vms.*'x' is invalid/);
    expectRefusal(await addNews('--no-offload', '--max-vms', '2'), 2, /--no-offload: .* no --max-vms/);
    expectRefusal(
      await origin('add', 'news', '--host', PHOTOS, ...upstream),
      1,
      /photos\.example is a host of photos too/,
    );
    expectRefusal(
      await origin('add', 'news', '--host', 'a.edge.example', ...upstream),
      1,
      /below the edge domain/,
    );
    expectRefusal(await origin('rm', 'photos'), 1, /photos stands in the configuration/);
    expectRefusal(await origin('rotate', 'nobody'), 1, /no origin is named "nobody"/);
    expectRefusal(await origin('rotate', 'photos', '--now', '--finish'), 2, /cannot be used with/);
  });
});

describe('SIGHUP', () => {
  const reload = async (text: string, message: string) => {
    const before = edge.log.length;
    await writeFile(edge.configFile, text);
    edge.signal('SIGHUP');
    return edge.until(message, () => edge.log.slice(before).find(({ msg }) => msg === message));
  };
  const configured = (
    origins: Parameters<typeof configuration>[0]['origins'],
    { gateway, pool, ...more }: { gateway?: object; pool?: object; log?: string } = {},
  ) => {
    const config = JSON.parse(configuration({ origins, pool: pool ?? {} })) as { gateway: object };
    return JSON.stringify({ ...config, ...more, gateway: { ...config.gateway, ...gateway } });
  };
  const AS_BEFORE = () => configured({ photos: { port: photos.port } });
  afterEach(async () => {
    await reload(AS_BEFORE(), 'configuration reloaded');
  });

  test('takes over origins, the tag and what answers show', async () => {
    const both = {
      photos: { port: news.port, hosts: [PHOTOS, 'www.photos.example'] },
      video: { port: news.port },
    };
    const { applied } = await reload(
      configured(both, { gateway: { tag: 'api-server', tagDigest: 'md5', showServedBy: false } }),
      'configuration reloaded',
    );
    expect(applied).toEqual(
      expect.arrayContaining(['gateway.origins', 'gateway.tag', 'gateway.tagDigest', 'gateway.showServedBy']),
    );
    for (const host of [PHOTOS, 'www.photos.example', 'video.example']) {
      expect(await edge.visit(host)).toMatchObject({ status: 200, body: 'from news\n', servedBy: '' });
    }
    expect(reached()).toMatchObject({ 'bng-api-server': `127.0.0.1:${edge.apiPort}` });
    expect(reached()).toHaveProperty('bng-api-digest');
    await reload(AS_BEFORE(), 'configuration reloaded');
    expect(await edge.visit(PHOTOS)).toMatchObject({ body: 'from photos\n', servedBy: 'origin' });
    expect(await edge.visit('video.example')).toMatchObject({ status: 404 });
  });

  test('loses no request of those that are under way and none that come meanwhile', async () => {
    const held = Promise.withResolvers<ServerResponse>();
    const serve = photos.serve;
    photos.serve = (_request, response) => held.resolve(response);
    const underWay = edge.visit(PHOTOS);
    const response = await held.promise;
    photos.serve = serve;
    const [first, second] = [
      configured({ photos: { port: photos.port } }),
      configured({ photos: { port: news.port }, video: { port: news.port } }),
    ];
    const isOver = new AbortController();
    const statuses: number[] = [];
    const visitors = Array.from({ length: 4 }, async () => {
      while (!isOver.signal.aborted) statuses.push((await edge.visit(PHOTOS)).status);
    });
    for (let turn = 0; turn < 10; turn += 1) {
      await reload(turn % 2 === 0 ? second : first, 'configuration reloaded');
    }
    isOver.abort();
    await Promise.all(visitors);
    response.end('late, and whole');
    expect(await underWay).toMatchObject({ status: 200, body: 'late, and whole' });
    expect(statuses.length).toBeGreaterThan(20);
    expect(statuses.filter((status) => status !== 200)).toEqual([]);
  });

  test('changes nothing when the file is invalid, and says what is wrong with it', async () => {
    const invalid = configured({ video: { port: photos.port, hosts: ['Video'] } });
    const { reason } = await reload(invalid, 'configuration not reloaded');
    expect(reason).toMatch(/gateway\.origins\.video\.hosts\[0\]: got "Video": expected a host name/);
    expect(await edge.visit(PHOTOS)).toMatchObject({ status: 200, body: 'from photos\n' });

    await addNews();
    const clash = configured({ photos: { port: photos.port, hosts: [PHOTOS, NEWS] } });
    expect((await reload(clash, 'configuration not reloaded'))['reason']).toMatch(
      /news\.example is a host of news too/,
    );
    expect(await edge.visit(NEWS)).toMatchObject({ status: 200, body: 'from news\n' });
    await origin('rm', 'news');
  });

  test('says which keys wait for a restart', async () => {
    const moved = configured({ photos: { port: photos.port } }, { pool: { maxVms: 5 } });
    expect(await reload(moved, 'configuration keys wait for a restart')).toMatchObject({
      keys: ['pool.maxVms'],
    });
  });

  test('changes the level of the log', async () => {
    const quiet = configured({ photos: { port: photos.port } }, { log: 'warn', pool: { maxVms: 5 } });
    const before = edge.log.length;
    await reload(quiet, 'configuration keys wait for a restart');
    expect(await addNews()).toMatchObject({ code: 0 });
    expect(await origin('rm', 'news')).toMatchObject({ code: 0 });
    expect(edge.log.slice(before).map(({ level }) => level)).toEqual(['warn']);
  });
});

describe('a restart', () => {
  test('brings back who was added, and a rotation where it was', async () => {
    const old = lastLine(await addNews());
    const fresh = lastLine(await origin('rotate', 'news'));
    expect(await edge.stop()).toMatchObject({ code: 0, stderr: '' });
    edge = await start();
    expect(await edge.visit(NEWS)).toMatchObject({ status: 200, body: 'from news\n' });
    for (const token of [old, fresh]) expect(await vmApi(token)).toMatchObject({ status: 200 });
    await origin('rotate', 'news', '--finish');
    expect(await vmApi(old)).toMatchObject({ status: 403 });
    expect(await readFile(join(edge.data, 'origin-tokens', 'news.token'), 'utf8')).toBe(`${fresh}\n`);
    await origin('rm', 'news');
  });
});

needs('qemu-system-x86_64', 'apt-get')('an origin that is removed', () => {
  test('has its VMs stopped and its token refused, and its site is not served any more', async () => {
    const image = await webImage();
    news.images['web'] = image.folder;
    const token = lastLine(await addNews());
    const virtualmachine = { name: 'news', imageRef: news.imageUrl('web') };
    expect(await vmApi(token, { virtualmachine })).toMatchObject({ status: 202 });
    const { pid = 0 } = await edge.untilPhase('news', 'ready');
    expect(await edge.visit(NEWS)).toMatchObject({ servedBy: 'vm/news' });

    expect(await origin('rm', 'news')).toMatchObject({ code: 0, stdout: 'removed news\n' });
    expect(await edge.visit(NEWS)).toMatchObject({ status: 404 });
    expect(await vmApi(token)).toMatchObject({ status: 403 });
    await edge.until('its VM is gone', async () =>
      (await edge.status()).vms.length === 0 ? true : undefined,
    );
    expect(() => process.kill(pid, 0)).toThrow(/ESRCH/);
    expect(await edge.visit(PHOTOS)).toMatchObject({ status: 200 });
  });
});
