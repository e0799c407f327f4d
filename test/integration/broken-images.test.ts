import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readdir, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { basename, join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { Vm } from '../../src/pool/schema.ts';
import { machinesIn, RunningOrilla } from '../support/running-orilla.ts';
import { smallDisk } from '../support/small-disk.ts';
import { TestOrigin } from '../support/test-origin.ts';
import { needs } from '../support/tools.ts';
import { loadedVm, VmApiClient } from '../support/vm-api-client.ts';
import { variantOf, type WebImage, webImage } from '../support/web-image.ts';

// Whatever is wrong with an image: the API tells the origin's provider why, and the origin serves.

const PHOTOS = 'photos.example';

needs('qemu-system-x86_64')('an image that cannot serve', () => {
  let image: WebImage;
  let origin: TestOrigin;
  let orilla: RunningOrilla;
  let api: VmApiClient;

  beforeAll(async () => {
    image = await webImage();
    origin = await TestOrigin.start();
    // No guest is ready so soon: here that is what is wanted.
    const pool = { readyTimeout: '300 ms' };
    orilla = await RunningOrilla.start({ origins: { photos: { port: origin.port } }, pool });
    api = new VmApiClient(orilla, 'photos');
  });
  afterAll(async () => {
    await orilla?.[Symbol.asyncDispose]();
    await origin?.[Symbol.asyncDispose]();
  });

  /** After each test: the origin has served all the while, and what failed is gone without a trace. */
  afterEach(async () => {
    expect(await orilla.visit(PHOTOS)).toMatchObject({ status: 200, servedBy: 'origin' });
    for (const { name } of (await orilla.status()).vms) expect(await api.remove(name)).toBe(204);
    expect(machinesIn(orilla.data)).toEqual([]);
    expect((await readdir(join(orilla.data, 'images'))).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  const load = async (name: string, wanted: { imageRef?: string; imageDigest?: string } = {}) =>
    loadedVm(await api.load({ name, imageRef: origin.imageUrl(name), ...wanted }));
  /** Waits for the reason in the control API, and finds the same in the VM-loading API. */
  const untilReason = async (name: string, reason: RegExp, ...phases: Vm['phase'][]) => {
    const isWanted = (vm: Vm) => phases.includes(vm.phase) && reason.test(vm.reason ?? '');
    await orilla.untilVm(name, `${phases.join(' or ')} because ${reason.source}`, isWanted);
    expect(await orilla.visit(PHOTOS)).toMatchObject({ status: 200, servedBy: 'origin' });
    expect((await api.get(name)).reason).toMatch(reason);
  };
  /** An image that this machine has nothing of yet, with a manifest that is right and one file served in its own way. */
  const serveButFor = (file: string, serve: (response: ServerResponse) => void) => {
    const kernel = { file: 'vmlinuz', sizeBytes: 1_000_000, sha256: '0'.repeat(64) };
    const manifest = JSON.stringify({ ...image.manifest, kernel });
    return (request: IncomingMessage, response: ServerResponse) => {
      if (basename(request.url ?? '') === file) serve(response);
      else response.end(manifest);
    };
  };

  test('because its digest is another than the request’s is given up, both digests told', async () => {
    origin.images['other'] = image.folder;
    const imageDigest = `sha256:${'0'.repeat(64)}`;
    await load('other', { imageDigest });
    await untilReason('other', new RegExp(`${image.digest}; expected ${imageDigest}`), 'failed');
  });

  test('because a file was tampered with is given up', async () => {
    origin.images['tampered'] = serveButFor('vmlinuz', (response) => response.end(Buffer.alloc(1_000_000)));
    await load('tampered');
    await untilReason('tampered', /vmlinuz of .* has SHA-256 [0-9a-f]{64}; expected/, 'failed');
  });

  test('because the server breaks off in the middle is tried again; once the server is well, it is there', async () => {
    let fetches = 0;
    origin.images['cut'] = serveButFor('vmlinuz', (response) => {
      fetches += 1;
      response.writeHead(200, { 'content-length': 1_000_000 });
      response.write(Buffer.alloc(1000), () => response.destroy());
    });
    await load('cut');
    await untilReason('cut', /vmlinuz could not be fetched/, 'failed');
    expect(fetches).toBe(6);
    origin.images['cut'] = image.folder;
    expect((await load('cut')).status).toBe('fetching');
    await orilla.untilPhase('cut', 'starting');
  });

  test('because it is shorter than its manifest says is told', async () => {
    origin.images['short'] = serveButFor('vmlinuz', (response) => response.end('short'));
    await load('short');
    await untilReason('short', /ends after 5 octets; expected 1000000/, 'waiting', 'fetching');
  });

  test.for([
    ['manifest', 'image.json', /image\.json of .* is larger than 65536 octets/],
    ['kernel', 'vmlinuz', /vmlinuz of .* is longer than the \d+ octets of its manifest/],
  ] as const)(
    'because its %s never ends is given up, and the server rid of us',
    async ([name, file, reason]) => {
      const closed = Promise.withResolvers<void>();
      origin.images[name] = serveButFor(file, (response) => {
        response.once('close', closed.resolve);
        const more = () => {
          while (!response.destroyed && response.write(Buffer.alloc(65_536)));
        };
        response.on('drain', more);
        more();
      });
      await load(name);
      await untilReason(name, reason, 'failed');
      await closed.promise;
    },
  );

  test('because its manifest is none is given up', async () => {
    origin.images['page'] = (_request, response) => void response.end('<h1>Welcome</h1>');
    await load('page');
    await untilReason('page', /image\.json is not JSON/, 'failed');
  });

  test.for([
    ['the metadata of a cloud', 'http://169.254.169.254/latest/meta-data/', /not from 169\.254\.169\.254/],
    ['the control API', 'http://2130706433:8088/api/v1/vms', /not from 127\.0\.0\.1:8088/],
    ['a file', 'file:///etc/passwd', /not from file:/],
  ] as const)('because its server redirects to %s is given up', async ([, location, reason]) => {
    origin.images['redirects'] = (_request, response) => void response.writeHead(302, { location }).end();
    await load('redirects');
    await untilReason('redirects', reason, 'failed');
  });

  test('because it is a server whose length is a lie is given up before it is read', async () => {
    origin.images['boasts'] = serveButFor('vmlinuz', (response) =>
      response.writeHead(200, { 'content-length': 2 ** 50 }).write('x'),
    );
    await load('boasts');
    await untilReason('boasts', /announces 1125899906842624 octets/, 'failed');
  });

  test('because the server hangs waits for it, and can be stopped', async () => {
    const asked = Promise.withResolvers<ServerResponse>();
    origin.images['hang'] = (_request, response) => asked.resolve(response);
    await load('hang');
    const response = await asked.promise;
    expect((await api.get('hang')).status).toBe('fetching');
    const closed = once(response, 'close');
    expect(await api.remove('hang')).toBe(204);
    await closed;
  });

  test.for([
    ['a directory outside the root', '/etc', 'image_outside_root'],
    ['a way out of the root', '../../etc', 'image_outside_root'],
    ['a server that is not the origin’s', 'http://192.0.2.7/images/web', 'image_outside_root'],
    ['this machine, in decimal', 'http://2130706433:8088/', 'image_outside_root'],
    ['this machine, in octal', 'http://0177.0.0.1:8088/', 'image_outside_root'],
    ['this machine, in an IPv6 address', 'http://[::ffff:7f00:1]:8088/', 'image_outside_root'],
    ['the metadata of a cloud', 'http://169.254.169.254/', 'image_outside_root'],
    ['a directory that is not there', 'nowhere', 'image_not_found'],
    ['a scheme that is none', 'ftp://192.0.2.7/web', 'image_invalid'],
  ] as const)('because it is named as %s is refused at once', async ([, imageRef, code]) => {
    const answer = await api.load({ name: 'refused', imageRef });
    expect(answer.status).toBeGreaterThanOrEqual(400);
    expect(JSON.parse(answer.body)).toMatchObject({ error: { code } });
    expect((await orilla.status()).vms).toEqual([]);
  });

  test('because its guest answers 500, has no server, or is no kernel: tried again, then given up', async () => {
    const provided = (name: string) => join(orilla.data, 'provided-images', name);
    const http = { port: 80, readyPath: '/cgi-bin/broken' };
    await variantOf(image, provided('broken'), (manifest) => ({ ...manifest, http }));
    await variantOf(image, provided('mute'), (manifest) => ({
      ...manifest,
      http: { port: 81, readyPath: '/' },
    }));
    await noKernel(provided('no-kernel'));
    await load('broken', { imageRef: 'broken' });
    await load('mute', { imageRef: 'mute' });
    await load('no-kernel', { imageRef: 'no-kernel' });
    const silence = /the guest did not answer within 300 ms/;
    for (const phases of [['waiting', 'fetching', 'starting'], ['failed']] as const) {
      await untilReason('broken', silence, ...phases);
      await untilReason('mute', silence, ...phases);
      await untilReason('no-kernel', /QEMU/, ...phases);
    }
    expect(await orilla.visit(PHOTOS)).toMatchObject({ status: 200, servedBy: 'origin' });
  });

  test('because the disk is full is told, and the origin goes on', async (context) => {
    const folder = smallDisk(context, 'size=8m');
    origin.images['web'] = image.folder;
    await using full = await RunningOrilla.start({ folder, origins: { photos: { port: origin.port } } });
    const provider = new VmApiClient(full, 'photos');
    await provider.load({ name: 'web', imageRef: origin.imageUrl('web') });
    await full.untilVm('web', 'out of room', ({ reason = '' }) =>
      /no room in .*images for the image/.test(reason),
    );
    expect((await provider.get('web')).reason).toMatch(/no room in/);
    // Nothing was begun: the database has the room that is left.
    expect(origin.imageFetches.filter((file) => file.startsWith('web/'))).not.toContain('web/vmlinuz');
    expect(await full.visit(PHOTOS)).toMatchObject({ status: 200, servedBy: 'origin' });
    expect(await provider.remove('web')).toBe(204);
    expect(await full.stop()).toMatchObject({ code: 0 });
  });

  /** An image whose kernel is a text. */
  async function noKernel(folder: string): Promise<void> {
    const text = 'no kernel';
    const sha256 = createHash('sha256').update(text).digest('hex');
    const kernel = { file: 'vmlinuz', sizeBytes: text.length, sha256 };
    await variantOf(image, folder, (manifest) => ({ ...manifest, kernel }));
    await writeFile(join(folder, 'vmlinuz'), text);
  }
});

needs('qemu-system-x86_64')('a new version of a VM', () => {
  let image: WebImage;
  let origin: TestOrigin;
  let orilla: RunningOrilla;
  let api: VmApiClient;

  beforeAll(async () => {
    image = await webImage();
    origin = await TestOrigin.start();
    orilla = await RunningOrilla.start({
      origins: { photos: { port: origin.port } },
      pool: { readyTimeout: '20 s' },
    });
    api = new VmApiClient(orilla, 'photos');
    origin.images['one'] = image.folder;
    const provided = (name: string) => join(orilla.data, 'provided-images', name);
    await variantOf(image, provided('two'), (manifest) => ({ ...manifest, name: 'two' }));
    await variantOf(image, provided('broken'), ({ kernel, ...manifest }) => ({
      ...manifest,
      kernel: { ...kernel, sha256: '0'.repeat(64) },
    }));
    const loaded = await api.load({ name: 'web', imageRef: origin.imageUrl('one') }, { prefer: 'wait=60' });
    expect(loaded.status).toBe(201);
  });
  afterAll(async () => {
    await orilla?.[Symbol.asyncDispose]();
    await origin?.[Symbol.asyncDispose]();
  });

  test('serves once it is ready, no request is lost on the way, and so back', async () => {
    const answers: string[] = [];
    const done = new AbortController();
    const visiting = (async () => {
      while (!done.signal.aborted) {
        const { status, servedBy } = await orilla.visit(PHOTOS);
        answers.push(`${status} ${servedBy}`);
      }
    })();
    const changed = await api.change({ name: 'web', imageRef: 'two' });
    expect(loadedVm(changed)).toMatchObject({ status: 'ready', version: 2, previous: { version: 1 } });
    const back = loadedVm(await api.rollBack('web'));
    expect(back).toMatchObject({ status: 'ready', version: 3, imageDigest: image.digest });
    done.abort();
    await visiting;
    expect(new Set(answers)).toEqual(new Set(['200 vm/web']));
    expect(origin.requests).toEqual([]);
  });

  test('that is broken leaves the old one where it is', async () => {
    const before = await api.get('web');
    const failed = await api.change({ name: 'web', imageRef: 'broken' });
    expect(failed.status).toBe(502);
    expect(JSON.parse(failed.body).error.message).toMatch(
      /the VM web failed: vmlinuz of <path> has SHA-256 /,
    );
    expect(await api.get('web')).toMatchObject({
      version: before.version,
      status: 'ready',
      failedVersion: { imageRef: 'broken', reason: expect.stringMatching(/vmlinuz/) },
    });
    expect(await orilla.visit(PHOTOS)).toMatchObject({ status: 200, servedBy: 'vm/web' });
  });
});
