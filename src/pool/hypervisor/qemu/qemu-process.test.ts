import { expect, test } from 'vitest';
import { temporaryFolder } from '../../../../test/support/temporary-folder.ts';
import { QemuProcess } from './qemu-process.ts';

test('a process that ends at once is known to have ended', async () => {
  const directory = await temporaryFolder();
  const launch = { program: 'false', args: [], directory, inputs: [], diskFiles: [] };
  const processes = await Promise.all(Array.from({ length: 20 }, () => QemuProcess.spawn(launch)));
  const ends = await Promise.all(processes.map(({ exited }) => exited));
  expect(new Set(ends.map(({ status }) => status))).toEqual(new Set([1]));
  expect(processes.every(({ ended }) => ended.aborted)).toBe(true);
});
