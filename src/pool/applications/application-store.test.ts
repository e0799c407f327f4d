import { createHash } from 'node:crypto';
import { readdir, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { temporaryFolder } from '../../../test/support/temporary-folder.ts';
import { ManualClock, systemRandom } from '../../base/index.ts';
import { type ApplicationSource, ApplicationStore } from './application-store.ts';
import { tarHeader } from './tar-header.ts';

const NOW_MS = Date.parse('2026-01-01');
const signal = new AbortController().signal;

function archiveOf(version: string): Buffer {
  const manifest = { format: 'orilla.application/1', name: 'notes', version, run: ['./server'] };
  const content = Buffer.from(JSON.stringify(manifest).padEnd(512));
  const header = tarHeader({ name: 'application.json', kind: 'file', sizeBytes: 512, isExecutable: false });
  return Buffer.concat([header, content, Buffer.alloc(1024)]);
}
const digestOf = (octets: Buffer) => `sha256:${createHash('sha256').update(octets).digest('hex')}`;
const sourceOf = (octets: Buffer): ApplicationSource => ({
  description: 'a source',
  async *read() {
    for (let at = 0; at < octets.length; at += 700) yield octets.subarray(at, at + 700);
  },
});

describe('ApplicationStore', () => {
  let folder: string;
  let store: ApplicationStore;
  beforeEach(async () => {
    folder = join(await temporaryFolder(), 'applications');
    store = new ApplicationStore({ clock: new ManualClock(NOW_MS), random: systemRandom }, folder);
  });
  const bring = (octets: Buffer, expectedDigest?: string) =>
    store.import(sourceOf(octets), { signal, expectedDigest });

  test('keeps an application by its digest, with what its manifest says', async () => {
    const octets = archiveOf('1');
    const stored = await bring(octets, digestOf(octets));
    expect(stored).toMatchObject({ digest: digestOf(octets), sizeBytes: 2048, manifest: { version: '1' } });
    expect(await store.find(digestOf(octets))).toEqual(stored);
    expect(await store.find(digestOf(archiveOf('2')))).toBeUndefined();
  });

  test('keeps nothing of what is another than expected, no application, or without end', async () => {
    await expect(bring(archiveOf('1'), digestOf(archiveOf('2')))).rejects.toMatchObject({
      code: 'application_digest_mismatch',
    });
    await expect(bring(Buffer.alloc(4096, 1))).rejects.toMatchObject({ code: 'application_invalid' });
    const endless: ApplicationSource = {
      description: 'endless',
      async *read() {
        for (;;) yield Buffer.alloc(2 ** 20);
      },
    };
    await expect(store.import(endless, { signal })).rejects.toMatchObject({ code: 'application_invalid' });
    expect(await readdir(folder)).toEqual([]);
  });

  test('does not give what was damaged on the disk', async () => {
    const { digest, path } = await bring(archiveOf('1'));
    await truncate(path, 1024);
    expect(await store.find(digest)).toBeUndefined();
  });

  test('removes what nobody wants after an hour, sooner what is more than sixteen, and never what is wanted', async () => {
    const [wanted, old, fresh] = await Promise.all(
      ['1', '2', '3'].map((version) => bring(archiveOf(version))),
    );
    const age = (path: string, minutes: number) =>
      utimes(path, NOW_MS / 1000 - 60 * minutes, NOW_MS / 1000 - 60 * minutes);
    await age(wanted!.path, 600);
    await age(old!.path, 61);
    await age(fresh!.path, 59);
    await writeFile(join(folder, '.incoming-x'), '');
    await age(join(folder, '.incoming-x'), 61);
    await store.sweep(new Set([wanted!.digest]));
    const left = async () => (await readdir(folder)).map((file) => `sha256:${file.slice(0, 64)}`).sort();
    expect(await left()).toEqual([wanted!.digest, fresh!.digest].sort());
    for (let version = 10; version < 26; version += 1)
      await age((await bring(archiveOf(`${version}`))).path, 1);
    await store.sweep(new Set([wanted!.digest]));
    expect(await left()).toHaveLength(17);
    expect(await left()).not.toContain(fresh!.digest);
  });
});
