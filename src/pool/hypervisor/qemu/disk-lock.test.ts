import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { temporaryFolder } from '../../../../test/support/temporary-folder.ts';
import type { MachineDisk } from '../../disks/machine-disk.ts';
import { checkDisksFree } from './disk-lock.ts';
import { writeMachineRecord } from './machine-record.ts';

const disk = (path: string): MachineDisk => ({ path, format: 'raw', sizeBytes: 512 });

test('a disk is free for the machine that has it, and for no other while that is there', async () => {
  const run = await temporaryFolder();
  await mkdir(join(run, 'one'));
  await mkdir(join(run, 'template-without-a-record'));
  await writeMachineRecord(join(run, 'one'), {
    accelerator: 'tcg',
    port: 80,
    imageDigest: `sha256:${'0'.repeat(64)}`,
    configuration: { cpus: 1, memoryBytes: 2 ** 27, diskBytes: 512 },
    key: '7f3k',
    disks: [disk('/vms/one/data.raw')],
  });
  await checkDisksFree(run, 'one', [disk('/vms/one/data.raw')]);
  await checkDisksFree(run, 'two', [disk('/vms/two/data.raw')]);
  await expect(
    checkDisksFree(run, 'two', [disk('/vms/two/data.raw'), disk('/vms/one/data.raw')]),
  ).rejects.toMatchObject({ code: 'disk_in_use', message: 'the machine one has the disk /vms/one/data.raw' });
});
