import { readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { temporaryFolder } from '../../../../test/support/temporary-folder.ts';
import { readMachineRecord, writeMachineRecord } from './machine-record.ts';

const RECORD = { accelerator: 'tcg', port: 80, linkIndex: 7 } as const;

describe("a machine's record", () => {
  test('is read as it was written, and is for nobody else to read', async () => {
    for (const record of [RECORD, { accelerator: 'kvm', port: 8080 } as const]) {
      const folder = await temporaryFolder();
      await writeMachineRecord(folder, record);
      expect(await readMachineRecord(folder)).toMatchObject(record);
      expect((await stat(join(folder, 'machine.json'))).mode & 0o777).toBe(0o600);
    }
  });

  test.for([
    ['', 'nothing'],
    ['{', 'no JSON'],
    ['{"format":2,"accelerator":"tcg","port":80}', 'another format'],
    ['{"format":1,"accelerator":"tcg","port":80,"more":1}', 'a key more'],
    ['{"format":1,"accelerator":"tcg","port":80,"linkIndex":32768}', 'a link that there is not'],
    ['{"format":1,"accelerator":"tcg","port":0}', 'no port'],
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
