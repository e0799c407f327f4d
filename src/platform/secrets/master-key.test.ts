import { chmod, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { temporaryFolder } from '../../../test/support/temporary-folder.ts';
import { systemRandom } from '../../base/index.ts';
import { MasterKey } from './master-key.ts';

describe('the master key', () => {
  let folder: string;
  let path: string;
  const salt = new Uint8Array(32);
  const readOrMake = () => MasterKey.readOrMake(systemRandom, path);

  beforeEach(async () => {
    folder = await temporaryFolder();
    path = join(folder, 'master.key');
  });

  test('is made once, for its owner alone, and then read', async () => {
    const made = await readOrMake();
    expect(await readFile(path)).toHaveLength(32);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect((await readOrMake()).derive(salt, 'x')).toEqual(made.derive(salt, 'x'));
    expect(await readdir(folder)).toEqual(['master.key']);
  });

  test('is one, however many make it at once', async () => {
    const keys = await Promise.all(Array.from({ length: 20 }, readOrMake));
    expect(new Set(keys.map((key) => Buffer.from(key.derive(salt, 'x')).toString('hex'))).size).toBe(1);
    expect(await readdir(folder)).toEqual(['master.key']);
  });

  test('gives each salt and each purpose another key', async () => {
    const key = await readOrMake();
    const keys = [
      key.derive(salt, 'x'),
      key.derive(salt, 'y'),
      key.derive(salt.fill(1, 0, 1), 'x'),
      new Uint8Array(await readFile(path)),
    ];
    expect(new Set(keys.map((octets) => Buffer.from(octets).toString('hex'))).size).toBe(4);
  });

  test.for([0, 31, 33])('of %i octets is refused', async (count) => {
    await writeFile(path, Buffer.alloc(count), { mode: 0o600 });
    await expect(readOrMake()).rejects.toMatchObject({
      code: 'master_key_unusable',
      message: expect.stringContaining(`has ${count} octets instead of 32`),
    });
    expect(await readFile(path)).toHaveLength(count);
  });

  test.for(['640', '604', '620'])('that others may use (mode %s) is refused', async (mode) => {
    await readOrMake();
    await chmod(path, Number.parseInt(mode, 8));
    await expect(readOrMake()).rejects.toMatchObject({
      code: 'master_key_unusable',
      message: expect.stringContaining('chmod 600'),
    });
  });

  test('may be a link to where the operator keeps it; one that leads nowhere is told, and not replaced', async () => {
    const elsewhere = join(await temporaryFolder(), 'key');
    await symlink(elsewhere, path);
    await expect(readOrMake()).rejects.toMatchObject({ code: 'master_key_unusable' });
    await writeFile(elsewhere, Buffer.alloc(32, 7), { mode: 0o600 });
    expect((await readOrMake()).derive(salt, 'x')).toEqual(
      new MasterKey(Buffer.alloc(32, 7)).derive(salt, 'x'),
    );
  });

  test('that cannot be made is told with its path', async () => {
    path = join(folder, 'absent', 'master.key');
    await expect(readOrMake()).rejects.toMatchObject({
      code: 'master_key_unusable',
      message: expect.stringContaining(path),
    });
  });
});
