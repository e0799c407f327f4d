import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { temporaryFolder } from '../../../../test/support/temporary-folder.ts';
import { keepShort, openLog, readTail, TAIL_BYTES } from './run-files.ts';

describe('a log', () => {
  test('is read from its end, and empty when there is none', async () => {
    const path = join(await temporaryFolder(), 'console.log');
    expect(await readTail(path)).toBe('');
    await writeFile(path, `${'x'.repeat(TAIL_BYTES)}the end`);
    expect(await readTail(path)).toBe(`${'x'.repeat(TAIL_BYTES - 7)}the end`);
  });

  test('that has grown too long is cut to its end, and whoever writes to it goes on there', async () => {
    const path = join(await temporaryFolder(), 'console.log');
    const writer = await openLog(path);
    await writer.write(`${'x'.repeat(2 ** 20)}the end`);
    await keepShort(path);
    await writer.write(', and more');
    await writer.close();
    const content = await readFile(path, 'utf8');
    expect(content).toHaveLength(TAIL_BYTES + ', and more'.length);
    expect(content.endsWith('xthe end, and more')).toBe(true);
  });

  test('that is short enough is left as it is', async () => {
    const path = join(await temporaryFolder(), 'console.log');
    await writeFile(path, 'x'.repeat(2 ** 20));
    await keepShort(path);
    expect(await readFile(path, 'utf8')).toHaveLength(2 ** 20);
  });

  test('is neither read nor cut where somebody has put another file in its place', async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'secret'), 's'.repeat(2 ** 21));
    await symlink(join(folder, 'secret'), join(folder, 'console.log'));
    await mkdir(join(folder, 'qemu.log'));
    for (const name of ['console.log', 'qemu.log']) {
      expect(await readTail(join(folder, name))).toBe('');
      await keepShort(join(folder, name));
    }
    expect(await readFile(join(folder, 'secret'), 'utf8')).toHaveLength(2 ** 21);
  });
});
