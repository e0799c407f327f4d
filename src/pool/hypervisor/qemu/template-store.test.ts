import {
  appendFile,
  mkdir,
  open,
  readdir,
  readFile,
  rm,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { temporaryFolder } from '../../../../test/support/temporary-folder.ts';
import { ManualClock } from '../../../base/index.ts';
import { type Template, TemplateStore } from './template-store.ts';

const MEMORY_BYTES = 2 ** 20;

let folder: string;
let kernelPath: string;
let clock: ManualClock;
let store: TemplateStore;
beforeEach(async () => {
  folder = await temporaryFolder();
  kernelPath = join(folder, 'vmlinuz');
  await writeFile(kernelPath, 'kernel');
  clock = new ManualClock(1_700_000_000_000);
  store = new TemplateStore({ clock }, join(folder, 'templates'));
});

async function begin(key: string): Promise<Template> {
  const template = await store.begin(key, MEMORY_BYTES);
  if (!template) throw new Error('it is being made');
  return template;
}

async function fill(key: string): Promise<Template> {
  const template = await begin(key);
  await writeFile(template.memory, 'memory', { flag: 'r+' });
  await writeFile(template.state, 'state');
  await writeFile(template.kernel, 'kernel');
  return template;
}

async function make(key: string): Promise<void> {
  await store.keep(key, await fill(key), kernelPath, Promise.resolve());
}

describe('a template', () => {
  test('is there once it is finished, as long as it was said to be, and for the next process too', async () => {
    expect(await store.find('a')).toBeUndefined();
    await make('a');
    const found = await new TemplateStore({ clock }, join(folder, 'templates')).find('a');
    expect(await readFile(found?.state ?? '', 'utf8')).toBe('state');
    expect(await readFile(found?.memory ?? '')).toHaveLength(MEMORY_BYTES);
    expect(await store.find('b')).toBeUndefined();
  });

  test('that was begun and given up leaves nothing', async () => {
    await begin('a');
    await store.discard('a');
    expect(await store.find('a')).toBeUndefined();
    expect(await readdir(join(folder, 'templates'))).toEqual([]);
  });

  test('may be used before it is safe on the disk, by this process', async () => {
    const written = Promise.withResolvers<void>();
    const keeping = store.keep('a', await fill('a'), kernelPath, written.promise);
    expect(await store.find('a')).toBeDefined();
    expect(await readdir(join(folder, 'templates', 'a'))).not.toContain('template.json');
    written.resolve();
    await keeping;
    expect(await readdir(join(folder, 'templates', 'a'))).toContain('template.json');
  });

  test('that turns out to be no good before it is safe on the disk leaves nothing, and can be begun again then', async () => {
    const written = Promise.withResolvers<void>();
    const keeping = store.keep('a', await fill('a'), kernelPath, written.promise);
    await store.discard('a');
    expect(await store.find('a')).toBeUndefined();
    expect(await store.begin('a', MEMORY_BYTES)).toBeUndefined();
    written.resolve();
    await keeping;
    expect(await readdir(join(folder, 'templates'))).toEqual([]);
    await make('a');
    expect(await store.find('a')).toBeDefined();
  });

  test('is made by one start at a time, and stays when another is finished', async () => {
    await begin('a');
    expect(await store.find('a')).toBeUndefined();
    expect(await store.begin('a', MEMORY_BYTES)).toBeUndefined();
    await make('b');
    expect((await readdir(join(folder, 'templates'))).sort()).toEqual(['a', 'b']);
  });

  const damages: [string, (template: Template) => Promise<unknown>][] = [
    ['whose state is another', ({ state }) => writeFile(state, 'stale')],
    ['whose state is cut', ({ state }) => truncate(state, 3)],
    ['whose state is gone', ({ state }) => rm(state)],
    ['whose memory is too short', ({ memory }) => truncate(memory, MEMORY_BYTES - 1)],
    ['into whose memory somebody wrote', ({ memory }) => writeFile(memory, 'x', { flag: 'r+' })],
    [
      'into whose memory somebody wrote and set the time back',
      async ({ memory }) => {
        const handle = await open(memory, 'r+');
        const { atime, mtime } = await handle.stat();
        await handle.write('x');
        await handle.close();
        await utimes(memory, atime, mtime);
      },
    ],
    ['whose record is no JSON', ({ directory }) => appendFile(join(directory, 'template.json'), '}')],
  ];
  test.for(damages)('%s is not used, and makes room for the next', async ([, damage]) => {
    await make('a');
    const template = await store.find('a');
    if (!template) throw new Error('it was not made');
    await damage(template);
    expect(await store.find('a')).toBeUndefined();
    await make('a');
    expect(await store.find('a')).toBeDefined();
  });

  test('goes with its image, and with what a process that died had begun, when the next is made', async () => {
    await make('a');
    await rm(kernelPath);
    kernelPath = join(folder, 'other');
    await writeFile(kernelPath, 'other');
    await mkdir(join(folder, 'templates', '.begun'));
    await make('b');
    expect(await readdir(join(folder, 'templates'))).toEqual(['b']);
  });
});
