import { generateKeyPairSync } from 'node:crypto';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { APPLICATION_KEY } from '../../../test/support/scripted-applications.ts';
import { temporaryFolder } from '../../../test/support/temporary-folder.ts';
import { ManualClock, systemRandom } from '../../base/index.ts';
import { openStore } from '../../platform/store/index.ts';
import { silentLog } from '../../platform/telemetry/index.ts';
import { opensshKey } from '../remote-commands/openssh-key.ts';
import { sharedTagKey } from '../tag-key.ts';
import type { ConfiguredOrigin } from './origin.ts';
import { OriginDirectory } from './origin-directory.ts';
import { insertOrigin, type OriginTables, originMigrations } from './origin-table.ts';
import type { NewOrigin } from './schema.ts';

let folder: string;
beforeEach(async () => {
  folder = await temporaryFolder();
});

const upstream = { host: '192.0.2.7', port: 9000, isTls: false, authority: '192.0.2.7:9000' };
const news: NewOrigin = {
  name: 'news',
  hosts: ['news.example'],
  upstream,
  offload: { maxVms: 2, imageHosts: ['images.example'], sshKeys: [], applicationKeys: [] },
};
const shop: NewOrigin = { name: 'shop', hosts: ['shop.example', 'www.shop.example'], upstream };
const configured = (name: string, hosts = [`${name}.example`]): ConfiguredOrigin => ({
  name,
  hosts,
  upstream,
  offload: {
    maxVms: 8,
    imageHosts: [],
    sshKeys: [],
    applicationKeys: [],
    tokenFile: join(folder, `${name}.token`),
  },
});

const openTables = () => openStore<OriginTables>(join(folder, 'orilla.db'), originMigrations);
const openOn = (store: Awaited<ReturnType<typeof openTables>>, named: readonly ConfiguredOrigin[]) =>
  OriginDirectory.open(
    { clock: new ManualClock(), random: systemRandom, log: silentLog, store },
    { edgeDomain: 'edge.example', tokenFolder: join(folder, 'tokens') },
    named,
  );

/** For as long as the test runs. */
async function open(named: readonly ConfiguredOrigin[] = []): Promise<OriginDirectory> {
  const store = await openTables();
  onTestFinished(() => store.close());
  return openOn(store, named);
}

/** Opens it, as a start does, and closes it again, as an end does. */
async function during<Result>(
  work: (origins: OriginDirectory) => Promise<Result>,
  named: readonly ConfiguredOrigin[] = [],
): Promise<Result> {
  await using store = await openTables();
  return await work(await openOn(store, named));
}

const names = (origins: OriginDirectory) => origins.list().map(({ name }) => name);
const signsBy = (origins: OriginDirectory, name: string) => origins.find(name)?.tagKey?.keyId;
const keyIdOf = (token: string) => sharedTagKey(token).keyId;

describe('the directory of origins', () => {
  it('holds those of the configuration and those that were added, and many of them [gateway G17]', async () => {
    const origins = await open([configured('photos')]);
    await origins.add(news);
    await origins.add(shop);
    expect(origins.list()).toMatchObject([
      { name: 'photos', source: 'configuration' },
      { ...news, source: 'command' },
      { ...shop, source: 'command' },
    ]);
    expect(origins.find('nobody')).toBeUndefined();
  });

  it('tells its listeners of each change, once it has happened', async () => {
    const origins = await open();
    const heard: string[][] = [];
    const subscription = origins.subscribe(() => heard.push(names(origins)));
    await Promise.all([origins.add(news), origins.add(shop), origins.remove('news')]);
    subscription[Symbol.dispose]();
    await origins.remove('shop');
    expect(heard).toEqual([['news'], ['news', 'shop'], ['shop']]);
  });

  it('shows the token of an added one once, keeps it in a file for its owner only, and signs its tags by it', async () => {
    const origins = await open();
    const { token = '' } = await origins.add(news);
    expect(origins.originOf(token)).toBe('news');
    expect(origins.originOf(`${token}x`)).toBeUndefined();
    expect(signsBy(origins, 'news')).toBe(keyIdOf(token));
    const file = join(folder, 'tokens', 'news.token');
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await readFile(file, 'utf8')).toBe(`${token}\n`);
    expect(JSON.stringify(origins.list())).not.toContain(token);
    expect(await readFile(join(folder, 'orilla.db'), 'latin1')).not.toContain(token);
  });

  it('remembers its keys for commands and applications, and knows of none where it was added without', async () => {
    const line = opensshKey(generateKeyPairSync('ed25519').privateKey).publicKey;
    const offload = { maxVms: 2, imageHosts: [], sshKeys: [line], applicationKeys: [APPLICATION_KEY] };
    await during((origins) => origins.add({ ...news, offload }));
    await using store = await openTables();
    const before = { maxVms: 3, imageHosts: [] };
    // Cast: as an Orilla wrote it that knew no keys.
    await insertOrigin(store.db, { ...shop, offload: before as unknown as NewOrigin['offload'] }, 0);
    const origins = await openOn(store, []);
    expect(origins.find('news')?.offload).toEqual(offload);
    expect(origins.find('shop')?.offload).toEqual({ ...before, sshKeys: [], applicationKeys: [] });
  });

  it('gives one that may not load VMs no token', async () => {
    const origins = await open();
    expect(await origins.add(shop)).toEqual({ origin: expect.objectContaining({ name: 'shop' }) });
    expect(signsBy(origins, 'shop')).toBeUndefined();
    await expect(origins.rotate('shop', 'begin')).rejects.toMatchObject({ code: 'origin_without_token' });
  });

  it('has what was added again after a restart, with the same tokens', async () => {
    const token = await during(async (origins) => {
      await origins.add(shop);
      return (await origins.add(news)).token ?? '';
    });
    const origins = await open([configured('photos')]);
    expect(origins.find('news')).toMatchObject({ ...news, source: 'command' });
    expect(origins.find('shop')).toMatchObject(shop);
    expect(origins.originOf(token)).toBe('news');
  });

  it('forgets a removed one for good: its token is refused, and one of its name that comes later gets another', async () => {
    const token = await during(async (origins) => {
      const added = await origins.add(news);
      await origins.rotate('news', 'begin');
      await origins.remove('news');
      expect(origins.originOf(added.token ?? '')).toBeUndefined();
      return added.token;
    });
    expect(await readdir(join(folder, 'tokens'))).toEqual([]);
    // What a crash between the row and the file would leave.
    await writeFile(join(folder, 'tokens', 'news.token'), `${token}\n`);
    await writeFile(join(folder, 'tokens', 'news.token.next'), `${token}\n`);
    const origins = await open();
    expect(names(origins)).toEqual([]);
    const again = await origins.add(news);
    expect(again.token).not.toBe(token);
    expect(again.origin.isRotating).toBe(false);
    expect(origins.originOf(token ?? '')).toBeUndefined();
  });

  it.for([
    ['a name that is taken', { ...shop, name: 'photos' }, 'origin_taken', /photos is there already/],
    [
      'a host that is taken',
      { ...shop, hosts: ['a.example', 'photos.example'] },
      'host_refused',
      /hosts\[1\]: photos\.example is a host of photos too/,
    ],
    [
      'a host twice',
      { ...shop, hosts: ['a.example', 'a.example'] },
      'host_refused',
      /hosts\[1\]: a\.example is a host of shop too/,
    ],
    [
      'a host that could be a VM’s',
      { ...shop, hosts: ['x.edge.example'] },
      'host_refused',
      /x\.edge\.example is below the edge domain/,
    ],
  ] as const)('refuses %s, and keeps nothing of it', async ([, wanted, code, message]) => {
    const origins = await open([configured('photos')]);
    const refused = origins.add({ ...wanted, hosts: [...wanted.hosts] });
    await expect(refused).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    expect(names(origins)).toEqual(['photos']);
  });

  it('lets one of two win who ask for the same host at once', async () => {
    const origins = await open();
    const both = [origins.add(shop), origins.add({ ...news, hosts: ['shop.example'] })];
    expect((await Promise.allSettled(both)).map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
    expect(names(origins)).toEqual(['shop']);
  });

  it('removes by command only what was added by command', async () => {
    const origins = await open([configured('photos')]);
    await expect(origins.remove('photos')).rejects.toMatchObject({ code: 'origin_configured' });
    await expect(origins.remove('nobody')).rejects.toMatchObject({ code: 'origin_not_found' });
  });

  it('adds nothing whose token cannot be kept', async () => {
    const origins = await open();
    await writeFile(join(folder, 'tokens'), 'a file where the folder should be');
    await expect(origins.add(news)).rejects.toMatchObject({ code: 'secret_file_unusable' });
    expect(names(origins)).toEqual([]);
  });
});

describe('a changed configuration', () => {
  it('adds, changes and removes what it names, and leaves alone what was added by command', async () => {
    const origins = await open([configured('photos'), configured('video')]);
    const { token = '' } = await origins.add(news);
    const moved = { ...configured('video'), upstream: { ...upstream, port: 9001 } };
    await origins.configure([moved, configured('music')]);
    expect(names(origins)).toEqual(['video', 'music', 'news']);
    expect(origins.find('video')?.upstream.port).toBe(9001);
    expect(origins.originOf(token)).toBe('news');
  });

  it('reads the tokens anew', async () => {
    const origins = await open([configured('photos')]);
    await writeFile(join(folder, 'photos.token'), 'a-token-that-the-operator-wrote\n');
    await origins.configure([configured('photos')]);
    expect(origins.originOf('a-token-that-the-operator-wrote')).toBe('photos');
  });

  it('changes nothing when it does not go together with what was added', async () => {
    const origins = await open([configured('photos')]);
    await origins.add(news);
    for (const [wrong, message] of [
      [configured('news', ['other.example']), /gateway\.origins\.news: an origin of this name was added/],
      [
        configured('blog', ['a.example', 'news.example']),
        /gateway\.origins\.blog\.hosts\[1\]: news\.example is a host of news/,
      ],
    ] as const) {
      await expect(origins.configure([wrong])).rejects.toMatchObject({
        code: 'config_invalid',
        message: expect.stringMatching(message),
      });
    }
    expect(names(origins)).toEqual(['photos', 'news']);
  });

  it('changes nothing when a token cannot be read', async () => {
    const origins = await open([configured('photos')]);
    await mkdir(join(folder, 'bad.token'));
    await expect(origins.configure([configured('bad')])).rejects.toMatchObject({
      code: 'secret_file_unusable',
    });
    expect(names(origins)).toEqual(['photos']);
  });

  it('is refused at a start, too, when an added host is below its edge domain', async () => {
    await during((origins) => origins.add(news));
    await using store = await openTables();
    const opening = OriginDirectory.open(
      { clock: new ManualClock(), random: systemRandom, log: silentLog, store },
      { edgeDomain: 'example', tokenFolder: join(folder, 'tokens') },
      [],
    );
    await expect(opening).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringMatching(/gateway\.edgeDomain: got "example": news\.example is below/),
    });
  });
});

describe.for([
  [
    'an added origin',
    async () => open().then(async (origins) => ({ origins, name: (await origins.add(news)).origin.name })),
  ],
  ['a configured origin', async () => ({ origins: await open([configured('photos')]), name: 'photos' })],
] as const)('the rotation of the token of %s', ([, start]) => {
  const tokensOf = (origins: OriginDirectory) => origins.tokens().map(([token]) => token);

  it('accepts both until it is finished, and signs by the old one until then', async () => {
    const { origins, name } = await start();
    const [old = ''] = tokensOf(origins);
    const begun = await origins.rotate(name, 'begin');
    const fresh = begun.token ?? '';
    expect(begun.origin.isRotating).toBe(true);
    expect([old, fresh].map((token) => origins.originOf(token))).toEqual([name, name]);
    expect(signsBy(origins, name)).toBe(keyIdOf(old));

    const finished = await origins.rotate(name, 'finish');
    expect(finished).toEqual({ origin: expect.objectContaining({ isRotating: false }) });
    expect([old, fresh].map((token) => origins.originOf(token))).toEqual([undefined, name]);
    expect(signsBy(origins, name)).toBe(keyIdOf(fresh));
  });

  it('replaces all tokens at once when others have seen one', async () => {
    const { origins, name } = await start();
    const leaked = tokensOf(origins);
    leaked.push((await origins.rotate(name, 'begin')).token ?? '');
    const { token = '' } = await origins.rotate(name, 'now');
    expect(tokensOf(origins)).toEqual([token]);
    expect(leaked.map((other) => origins.originOf(other))).toEqual([undefined, undefined]);
    expect(signsBy(origins, name)).toBe(keyIdOf(token));
  });

  it('takes its steps in order', async () => {
    const { origins, name } = await start();
    await expect(origins.rotate(name, 'finish')).rejects.toMatchObject({ code: 'rotation_not_begun' });
    const { token } = await origins.rotate(name, 'begin');
    await expect(origins.rotate(name, 'begin')).rejects.toMatchObject({ code: 'rotation_under_way' });
    expect(tokensOf(origins)[1]).toBe(token);
    await expect(origins.rotate('nobody', 'now')).rejects.toMatchObject({ code: 'origin_not_found' });
  });
});

describe('a rotation', () => {
  it('is where it was after a restart', async () => {
    const tokens = await during(async (origins) => {
      const { token: old } = await origins.add(news);
      return [old, (await origins.rotate('news', 'begin')).token];
    });
    await during(async (origins) => {
      expect(origins.find('news')?.isRotating).toBe(true);
      expect(origins.tokens()).toEqual(tokens.map((token) => [token, 'news']));
      await origins.rotate('news', 'finish');
    });
    await during(async (origins) => expect(origins.tokens()).toEqual([[tokens[1], 'news']]));
  });

  it('leaves the tokens as they are when the new one cannot be kept', async () => {
    const origins = await open([configured('photos')]);
    const before = origins.tokens();
    await mkdir(join(folder, 'photos.token.next', 'x'), { recursive: true });
    await expect(origins.rotate('photos', 'begin')).rejects.toMatchObject({ code: 'secret_file_unusable' });
    expect(origins.tokens()).toEqual(before);
  });
});
