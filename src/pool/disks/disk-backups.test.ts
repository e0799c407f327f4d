import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { temporaryFolder } from '../../../test/support/temporary-folder.ts';
import { firstVersion, transition, type VersionEvent, type VmVersions } from '../vm-versions.ts';
import { DiskBackups } from './disk-backups.ts';
import { VmDisks } from './vm-disks.ts';

const CONFIGURATION = { cpus: 1, memoryBytes: 2 ** 27, diskBytes: 2 ** 20 };
const { signal } = new AbortController();

let folder: string;
let disks: VmDisks;
let backups: DiskBackups;
let versions: VmVersions;

beforeEach(async () => {
  folder = await temporaryFolder();
  disks = new VmDisks(join(folder, 'vms'));
  backups = new DiskBackups(disks, join(folder, 'saved'));
  versions = firstVersion({
    imageRef: 'one',
    imageDigest: 'one',
    configuration: CONFIGURATION,
    ownerNote: '',
  });
  await mkdir(join(folder, 'vms', 'notes'), { recursive: true });
  await write('ink of the first');
});

const path = () => join(folder, 'vms', 'notes', 'data.raw');
const write = (text: string) => writeFile(path(), text);
const read = () => readFile(path(), 'utf8');
const kept = () => readdir(join(folder, 'saved', 'notes'));
const event = (what: VersionEvent) => {
  versions = transition(versions, what);
};
const wish = (imageRef: string) =>
  event({ kind: 'wished', wanted: { imageRef, configuration: CONFIGURATION, ownerNote: '' } });
async function settle() {
  const disk = await disks.own('notes');
  if (disk) await backups.settle('notes', disk, versions, signal);
}

describe("a VM's own disk", () => {
  test('is kept as it was before a version that runs instead of another, and brought back when that fails [desktop D17]', async () => {
    wish('two');
    await settle();
    await write('scribbles of the second');
    // Started again within the same attempt: the copy is not made anew from what the second did.
    await settle();
    expect(await kept()).toEqual(['before-2']);
    event({ kind: 'failed', version: 2 });
    await settle();
    expect([await read(), await kept()]).toEqual(['ink of the first', []]);
  });

  test('stays as the new version made it when that serves', async () => {
    wish('two');
    await settle();
    await write('ink of the second');
    event({ kind: 'answered', version: 2 });
    await settle();
    expect([await read(), await kept()]).toEqual(['ink of the second', []]);
  });

  test('is what the serving version had when a third wish takes the place of the second', async () => {
    wish('two');
    await settle();
    await write('scribbles of the second');
    wish('three');
    await settle();
    expect([await read(), await kept()]).toEqual(['ink of the first', ['before-3']]);
  });

  test('is not touched by a copy that was never whole', async () => {
    await mkdir(join(folder, 'saved', 'notes', 'before-2.draft'), { recursive: true });
    await settle();
    expect(await read()).toBe('ink of the first');
    wish('two');
    await settle();
    expect(await kept()).toEqual(['before-2']);
  });

  test('that is not there yet needs no copy', async () => {
    expect(await disks.own('other')).toBeUndefined();
  });
});
