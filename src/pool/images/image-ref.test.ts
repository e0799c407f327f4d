import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, sep } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ManualClock } from '../../base/index.ts';
import { type ImageRefPolicy, parseImageRef, resolveImageRef } from './image-ref.ts';

const DIGEST = `sha256:${'0a'.repeat(32)}`;

/**
 *     outside/secret/
 *     images/photos/   images/deep/maps/   images/file
 *     images/inward → photos   images/outward → ../outside   images/deep/up → ../..   images/circle → circle
 *     link → images
 */
let folder: string;
let policy: ImageRefPolicy;
beforeAll(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'orilla-image-ref-')));
  for (const path of ['outside/secret', 'images/photos', 'images/deep/maps', 'images-2/photos']) {
    mkdirSync(join(folder, path), { recursive: true });
  }
  writeFileSync(join(folder, 'images', 'file'), '');
  for (const [path, target] of [
    ['images/inward', 'photos'],
    ['images/outward', '../outside'],
    ['images/deep/up', '../..'],
    ['images/circle', 'circle'],
    ['link', 'images'],
  ] as const) {
    symlinkSync(target, join(folder, path));
  }
  policy = {
    directoryRoot: join(folder, 'images'),
    servers: { listed: ['images.example', 'other.example:8080', '[::1]:8080'] },
  };
});
afterAll(() => rmSync(folder, { recursive: true }));

async function resolved(text: string, rules = policy): Promise<string> {
  const ref = parseImageRef(text);
  if (ref.kind === 'stored') throw new Error('a digest has no source');
  return (await resolveImageRef(new ManualClock(), ref, rules)).description;
}

describe('an imageRef', () => {
  test('is a digest, a URL or a directory [gateway G5]', () => {
    expect(parseImageRef(DIGEST)).toEqual({ kind: 'stored', digest: DIGEST });
    expect(parseImageRef('https://images.example/photos')).toEqual({
      kind: 'url',
      url: new URL('https://images.example/photos'),
    });
    expect(parseImageRef('photos/v2')).toEqual({ kind: 'directory', path: 'photos/v2' });
    expect(parseImageRef('/srv/images/photos')).toEqual({ kind: 'directory', path: '/srv/images/photos' });
    expect(parseImageRef('file:///srv/images/photos')).toEqual({
      kind: 'directory',
      path: '/srv/images/photos',
    });
  });

  test.for([
    '',
    'http://',
    'http://[::1',
    'ftp://images.example/photos',
    'file://images.example/photos',
    'javascript:alert(1)',
    'sha256:abc',
    DIGEST.toUpperCase(),
    'photos\0/../../etc',
  ])('%j is none of them', (text) => {
    expect(() => parseImageRef(text)).toThrow(expect.objectContaining({ code: 'image_invalid' }));
  });
});

describe('a URL', () => {
  test.for([
    'http://images.example/photos',
    'HTTPS://IMAGES.example',
    'http://other.example:8080/a',
    'http://[::1]:8080/',
  ])('%s is of a server that is listed [gateway G5]', async (text) => {
    expect(await resolved(text)).toBe(new URL(text).href);
  });

  test.for([
    'http://images.example:8080/photos',
    'http://other.example/a',
    'http://sub.images.example/photos',
    'http://images.example.attacker.example/photos',
    'http://127.0.0.1/photos',
  ])('%s is of a server that is not, and is not contacted', async (text) => {
    await expect(resolved(text)).rejects.toMatchObject({
      code: 'image_outside_root',
      message: expect.stringContaining('images.example, other.example:8080'),
    });
  });

  test.for([
    'http://user@images.example/',
    'http://user:secret@images.example/',
    'http://:secret@images.example/',
  ])('%s carries credentials, and is refused without telling them', async (text) => {
    await expect(resolved(text)).rejects.toMatchObject({
      code: 'image_invalid',
      message: expect.not.stringContaining('secret'),
    });
  });

  test('is refused where no server is listed', async () => {
    await expect(
      resolved('http://images.example/', { ...policy, servers: { listed: [] } }),
    ).rejects.toMatchObject({
      code: 'image_outside_root',
      message: expect.stringContaining('no server'),
    });
  });
});

describe('a directory', () => {
  test('is found below the root by its relative or its whole path, also through links [gateway G5]', async () => {
    const images = join(folder, 'images');
    expect(await resolved('photos')).toBe(join(images, 'photos'));
    expect(await resolved('./deep//maps/')).toBe(join(images, 'deep', 'maps'));
    expect(await resolved('deep/../photos')).toBe(join(images, 'photos'));
    expect(await resolved(join(images, 'photos'))).toBe(join(images, 'photos'));
    expect(await resolved(`file://${images}/photos`)).toBe(join(images, 'photos'));
    expect(await resolved('inward')).toBe(join(images, 'photos'));

    const linked = { ...policy, directoryRoot: join(folder, 'link') };
    expect(await resolved('photos', linked)).toBe(join(images, 'photos'));
    expect(await resolved(join(folder, 'link', 'photos'), linked)).toBe(join(images, 'photos'));
  });

  test.for([
    '.',
    '..',
    '../outside',
    '../images-2/photos',
    'photos/../../outside',
    '/etc',
    'outward/secret',
    'deep/up',
    'deep/up/outside',
    '//etc',
    'photos/./../..',
  ])('%s leads out of the root and is refused', async (path) => {
    await expect(resolved(path)).rejects.toMatchObject({ code: 'image_outside_root' });
  });

  test('that is missing below the root is not found; outside, it is not even looked for', async () => {
    await expect(resolved('nowhere')).rejects.toMatchObject({ code: 'image_not_found' });
    await expect(resolved('circle')).rejects.toMatchObject({ code: 'image_not_found' });
    // Nothing is decoded: these are names, of folders that are not there.
    for (const name of ['%2e%2e/outside', 'photos%2f..%2f..', 'photos\\..\\..', 'x'.repeat(300)]) {
      await expect(resolved(name)).rejects.toMatchObject({ code: 'image_not_found' });
    }
    await expect(resolved('../nowhere')).rejects.toMatchObject({ code: 'image_outside_root' });
    await expect(resolved('../outside')).rejects.toMatchObject({ code: 'image_outside_root' });
  });

  test('below a root that is missing is not found', async () => {
    const nowhere = { ...policy, directoryRoot: join(folder, 'nowhere') };
    await expect(resolved('photos', nowhere)).rejects.toMatchObject({ code: 'image_not_found' });
  });

  test('outside the root never comes out, whatever the path', async () => {
    const names = [
      '.',
      '..',
      '',
      'images',
      'photos',
      'deep',
      'up',
      'inward',
      'outward',
      'outside',
      'secret',
      'circle',
      'link',
      'file',
    ];
    const segments = fc.array(
      fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...names) }, fc.string({ maxLength: 3 })),
      {
        maxLength: 7,
      },
    );
    const start = fc.constantFrom(
      '',
      '/',
      'file:///',
      ...['', '/images', '/link', '/outside'].map((path) => folder + path + sep),
    );
    const root = join(folder, 'images');
    await fc.assert(
      fc.asyncProperty(start, segments, async (begin, parts) => {
        const path = await resolved(begin + parts.join('/')).catch((error: unknown) => {
          expect(error).toMatchObject({
            code: expect.stringMatching(/^image_(outside_root|not_found|invalid)$/),
          });
        });
        if (path === undefined) return;
        expect(realpathSync(path)).toBe(path);
        expect(relative(root, path)).toMatch(/^(?!\.\.(\/|$))./);
      }),
      { numRuns: 500 },
    );
  });
});
