import { readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { temporaryFolder } from '../../../../test/support/temporary-folder.ts';
import { type MachineRecord, readMachineRecord, writeMachineRecord } from './machine-record.ts';

const ALWAYS = {
  imageDigest: `sha256:${'0'.repeat(64)}`,
  configuration: { cpus: 1, memoryBytes: 2 ** 27, diskBytes: 2 ** 20 },
  key: '7f3k',
};
const RECORD: MachineRecord = {
  ...ALWAYS,
  accelerator: 'tcg',
  port: 80,
  linkIndex: 7,
  disks: [
    { path: '/vms/photos/data.raw', format: 'raw', sizeBytes: 2 ** 20 },
    {
      path: '/vms/photos/0.qcow2',
      format: 'qcow2',
      sizeBytes: 2 ** 20,
      backing: { path: '/images/root.raw', format: 'raw' },
    },
  ],
};
/** As it is written, with something changed. */
const changed = (change: object) => JSON.stringify({ format: 2, ...RECORD, ...change });

describe("a machine's record", () => {
  test('is read as it was written, and is for nobody else to read', async () => {
    const other: MachineRecord = { ...ALWAYS, accelerator: 'kvm', port: 8080, disks: [] };
    for (const record of [RECORD, other]) {
      const folder = await temporaryFolder();
      await writeMachineRecord(folder, record);
      expect(await readMachineRecord(folder)).toEqual(record);
      expect((await stat(join(folder, 'machine.json'))).mode & 0o777).toBe(0o600);
    }
  });

  test.for([
    ['', 'nothing'],
    ['{', 'no JSON'],
    ['{"format":1,"accelerator":"tcg","port":80}', 'another format'],
    [changed({ more: 1 }), 'a key more'],
    [changed({ linkIndex: 32_768 }), 'a link that there is not'],
    [changed({ port: 0 }), 'no port'],
    [changed({ disks: undefined }), 'no word about disks'],
  ])('that is %j counts as none: %s', async ([content]) => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'machine.json'), content ?? '');
    expect(await readMachineRecord(folder)).toBeUndefined();
  });

  test('is not read through a link', async () => {
    const [folder, other] = [await temporaryFolder(), await temporaryFolder()];
    expect(await readMachineRecord(folder)).toBeUndefined();
    await writeMachineRecord(other, RECORD);
    await symlink(join(other, 'machine.json'), join(folder, 'machine.json'));
    expect(await readFile(join(folder, 'machine.json'), 'utf8')).toContain('tcg');
    expect(await readMachineRecord(folder)).toBeUndefined();
  });
});
