import { describe, expect, test } from 'vitest';
import { checkDiskSpace } from './disk-space.ts';

const GIB = 2 ** 30;
const disk = (sizeBytes: number, allocatedBytes = 0) => ({ path: '/x', sizeBytes, allocatedBytes });

describe('room for disks', () => {
  test('is there while all of them can be filled', () => {
    checkDiskSpace([], [], 0);
    checkDiskSpace([disk(GIB)], [disk(4 * GIB, 3 * GIB)], 2.01 * GIB);
    checkDiskSpace([disk(GIB, GIB + 2 ** 20)], [], 0);
  });

  test('is not there when what was promised to others would take it', () => {
    expect(() => checkDiskSpace([disk(GIB)], [disk(4 * GIB, 3 * GIB)], 1.5 * GIB)).toThrow(
      expect.objectContaining({
        code: 'disk_full',
        message:
          'its disks may take 1 GiB more; there are 1.5 GiB free, of which the disks of other VMs may take 1 GiB',
      }),
    );
  });

  test('counts the tables of an overlay, too', () => {
    expect(() => checkDiskSpace([disk(GIB)], [], GIB)).toThrow(/1 GiB more/);
  });
});
