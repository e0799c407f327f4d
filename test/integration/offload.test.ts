import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EDGE_DOMAIN, RunningOrilla } from '../support/running-orilla.ts';
import { TestOrigin } from '../support/test-origin.ts';
import { needs } from '../support/tools.ts';
import { loadedVm, VmApiClient } from '../support/vm-api-client.ts';
import { variantOf, type WebImage, webImage } from '../support/web-image.ts';

// One gateway, two origins that speak HTTP only, and real guests. The tests follow each other as a provider's days do.

const PHOTOS = 'photos.example';
const WIKI = 'wiki.example';

needs('qemu-system-x86_64')('a gateway with two origins', () => {
  let image: WebImage;
  let photos: TestOrigin;
  let wiki: TestOrigin;
  let orilla: RunningOrilla;
  let photosApi: VmApiClient;
  let wikiApi: VmApiClient;

  beforeAll(async () => {
    image = await webImage();
    photos = await TestOrigin.start('photos');
    wiki = await TestOrigin.start('wiki');
    photos.images['web'] = image.folder;
    orilla = await RunningOrilla.start({
      origins: { photos: { port: photos.port }, wiki: { port: wiki.port } },
      pool: {
        configurations: { small: { cpus: 1, memory: '192 MiB' }, wide: { cpus: 1, memory: '256 MiB' } },
      },
    });
    photosApi = new VmApiClient(orilla, 'photos');
    wikiApi = new VmApiClient(orilla, 'wiki');
  });
  afterAll(async () => {
    await orilla?.[Symbol.asyncDispose]();
    await photos?.[Symbol.asyncDispose]();
    await wiki?.[Symbol.asyncDispose]();
  });

  test('says in the header of a request where its VM-loading API is, and the API is there [gateway G1][gateway G4]', async () => {
    const answer = await orilla.visit(PHOTOS);
    expect(answer).toMatchObject({ status: 200, body: 'from photos\n', servedBy: 'origin' });
    const tag = String(photos.requests.at(-1)?.headers['bng-api-url']);
    expect(tag).toBe(`127.0.0.1:${orilla.apiPort}/version1/virtualmachine`);

    const tokenless = await fetch(`http://${tag}`, { method: 'POST', body: '{}' });
    expect(tokenless.status).toBe(401);
  });

  test('fetches the image from the origin that asks, and answers with the name, the address and the URL of the VM [gateway G4][gateway G5][gateway G7][gateway G8]', async () => {
    const answer = await photosApi.load({ name: 'photos', imageRef: photos.imageUrl('web') });
    expect(answer.status).toBe(202);
    expect(loadedVm(answer)).toMatchObject({
      host: `photos.${EDGE_DOMAIN}`,
      ip: '127.0.0.1',
      url: `http://photos.${EDGE_DOMAIN}:${orilla.gatewayPort}/`,
    });
    // Before the VM is ready the origin serves, also under the VM's own name.
    for (const host of [PHOTOS, `photos.${EDGE_DOMAIN}`])
      expect(await orilla.visit(host)).toMatchObject({ status: 200, servedBy: 'origin' });
    expect(photos.requests.at(-1)?.headers.host).toBe(PHOTOS);

    await orilla.untilPhase('photos', 'ready');
    expect(photos.imageFetches).toContain('web/image.json');
    const again = await photosApi.load({ name: 'photos', imageRef: photos.imageUrl('web') });
    expect(again.status).toBe(201);
    expect(loadedVm(again)).toMatchObject({ status: 'ready', imageDigest: image.digest });
  });

  test('serves every request by the VM, and none reaches the origin [gateway G10]', async () => {
    const [seen, fetched] = [photos.requests.length, photos.imageFetches.length];
    const { bytes: before } = await statusOf('photos');
    for (const host of [PHOTOS, `photos.${EDGE_DOMAIN}`]) {
      for (let i = 0; i < 10; i += 1) {
        const answer = await orilla.visit(host);
        expect(answer).toMatchObject({ status: 200, servedBy: 'vm/photos', body: 'from the VM\n' });
      }
    }
    expect((await orilla.visit(PHOTOS, '/large.bin')).body).toBe('large '.repeat(100_000));
    expect(photos.requests).toHaveLength(seen);
    expect(photos.imageFetches).toHaveLength(fetched);
    const { bytes: after, servedBy } = await statusOf('photos');
    expect(servedBy).toEqual(['vm/photos']);
    expect(after.origin).toBe(before.origin);
    expect(after.vm).toBeGreaterThan(before.vm);
  });

  test('the guest has an operating system of its own, from the image [gateway G7]', async () => {
    const { body } = await orilla.visit(PHOTOS, '/cgi-bin/where');
    const { name, kernel } = JSON.parse(body) as { name: string; kernel: string };
    expect(name).toBe('photos');
    expect(Object.keys(image.manifest.sources)).toContain(`linux-image-${kernel}`);
  });

  test.for([
    ['in the body', (host: string) => ({ status: 200, body: `vmip=127.0.0.1; vm-host-name = ${host}` })],
    ['in a header field', (host: string) => ({ status: 200, headers: { 'vm-host-name': host } })],
    ['as a redirect', (host: string) => ({ status: 302, headers: { location: `http://${host}` } })],
  ] as const)('passes on an answer that names the VM %s [gateway G9]', async ([, make]) => {
    const {
      status,
      headers = {},
      body = '',
    } = { headers: undefined, body: undefined, ...make(`wiki.${EDGE_DOMAIN}`) };
    wiki.serve = (_request, response) => void response.writeHead(status, headers).end(body);
    const answer = await orilla.visit(WIKI);
    expect(answer).toMatchObject({ status, body, servedBy: 'origin', headers });
    wiki.serve = (_request, response) => void response.end('from wiki\n');
  });

  test('starts a VM for another origin from a directory that was stored on the gateway, with a configuration that was stored there [gateway G5][gateway G6][gateway G17]', async () => {
    await mkdir(join(orilla.data, 'provided-images'), { recursive: true });
    await variantOf(image, join(orilla.data, 'provided-images', 'wiki'), (manifest) => ({
      ...manifest,
      name: 'wiki',
    }));
    const answer = await wikiApi.load(
      { name: 'wiki-1', imageRef: 'wiki', configurationid: 'wide' },
      { prefer: 'wait=60', accept: 'application/xml' },
    );
    expect(answer).toMatchObject({ status: 201, headers: { 'preference-applied': 'wait=60' } });
    expect(answer.body).toMatch(/<status>ready<\/status>/);

    expect(await orilla.visit(WIKI)).toMatchObject({ servedBy: 'vm/wiki-1' });
    expect(await orilla.visit(PHOTOS)).toMatchObject({ servedBy: 'vm/photos' });
    const inside = JSON.parse((await orilla.visit(WIKI, '/cgi-bin/machine')).body) as { memoryBytes: number };
    expect(inside).toMatchObject({ name: 'wiki-1', cpus: 1 });
    // More than `small` has, and of `wide` what the kernel leaves.
    expect(inside.memoryBytes).toBeGreaterThan(192 * 2 ** 20);
    expect(inside.memoryBytes).toBeLessThanOrEqual(256 * 2 ** 20);
    // Neither sees the other's.
    expect((await photosApi.ask('/wiki-1')).status).toBe(404);
    expect(await photosApi.remove('wiki-1')).toBe(404);
  });

  test('no request fails while its VM is killed: the origin answers until the VM is back', async () => {
    const { pid = 0 } = await orilla.untilPhase('photos', 'ready');
    process.kill(pid, 'SIGKILL');
    const answeredBy = new Set<string>();
    await orilla.until('a VM serves again after the origin did', async () => {
      const answer = await orilla.visit(PHOTOS);
      expect(answer.status).toBe(200);
      answeredBy.add(answer.servedBy);
      return answeredBy.has('origin') && answer.servedBy === 'vm/photos' ? true : undefined;
    });
    const vm = await orilla.untilPhase('photos', 'ready');
    expect(vm).toMatchObject({ restarts: 1 });
    expect(vm.pid).not.toBe(pid);
    expect(await orilla.visit(WIKI)).toMatchObject({ servedBy: 'vm/wiki-1' });
  });

  test('a VM that is removed leaves its origin to serve, and others as they are', async () => {
    expect(await photosApi.remove('photos')).toBe(204);
    expect(await orilla.visit(PHOTOS)).toMatchObject({ status: 200, servedBy: 'origin' });
    expect((await orilla.visit(`photos.${EDGE_DOMAIN}`)).status).toBe(404);
    expect(await orilla.visit(WIKI)).toMatchObject({ servedBy: 'vm/wiki-1' });
    expect((await orilla.status()).vms.map(({ name }) => name)).toEqual(['wiki-1']);
  });

  async function statusOf(origin: string) {
    const found = (await orilla.status()).origins.find(({ name }) => name === origin);
    if (!found) throw new Error(`the status knows no origin ${origin}`);
    return found;
  }
});
