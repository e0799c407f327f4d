import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { temporaryFolder } from '../../../test/support/temporary-folder.ts';
import { defineErrors, ManualClock, systemRandom } from '../../base/index.ts';
import { AuditLog } from './audit-log.ts';
import { silentLog } from './log.ts';

const ENTRY = { who: 'operator', what: 'exec', object: 'photos', details: { argv: '["ls"]' } };
const testError = defineErrors({ vm_not_found: 404 });

describe('AuditLog', () => {
  let path: string;
  let audit: AuditLog;
  beforeEach(async () => {
    path = join(await temporaryFolder(), 'audit.log');
    audit = new AuditLog({ clock: new ManualClock(1000), random: systemRandom, log: silentLog }, path);
  });
  afterEach(() => audit.close());
  const lines = async () =>
    (await readFile(path, 'utf8'))
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, string>);

  test('tells that something began, and how it ended, by one id', async () => {
    expect(await audit.audited(ENTRY, async () => 7)).toBe(7);
    const refused = async () => {
      throw testError('vm_not_found', 'no such VM');
    };
    await expect(audit.audited(ENTRY, refused)).rejects.toThrow('no such VM');
    const [begun, done, ...others] = await lines();
    expect(begun).toEqual({
      time: '1970-01-01T00:00:01.000Z',
      id: expect.any(String),
      who: 'operator',
      what: 'exec',
      object: 'photos',
      outcome: 'begun',
      argv: '["ls"]',
    });
    expect(done).toEqual({ ...begun, outcome: 'done' });
    expect(others.map(({ outcome }) => outcome)).toEqual(['begun', 'vm_not_found']);
  });

  test('is for its owner only, and each line is in the file before the work begins', async () => {
    await audit.audited(ENTRY, async () => {
      expect(await lines()).toMatchObject([{ outcome: 'begun' }]);
    });
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  test('is one line for each, whatever is in it, and of a bounded length', async () => {
    await audit.record({ ...ENTRY, object: `a\n${'b'.repeat(5000)}` }, 'refused');
    expect((await lines())[0]?.['object']).toHaveLength(1025);
  });

  test('goes on in a new file, keeps four old ones, and loses none in between', async () => {
    const small = new AuditLog({ clock: new ManualClock(), random: systemRandom, log: silentLog }, path, 300);
    for (let count = 0; count < 40; count += 1)
      await small.record({ ...ENTRY, object: String(count) }, 'done');
    await small.close();
    const files = (await readdir(join(path, '..'))).sort();
    expect(files).toEqual(['audit.log', 'audit.log.1', 'audit.log.2', 'audit.log.3', 'audit.log.4']);
    const kept: string[] = [];
    for (const file of files)
      kept.unshift(...(await readFile(join(path, '..', file), 'utf8')).trimEnd().split('\n'));
    const objects = kept.map((line) => Number((JSON.parse(line) as { object: string }).object));
    expect(objects).toEqual(
      Array.from({ length: objects.length }, (_, index) => 40 - objects.length + index),
    );
  });

  test('that cannot be written keeps nobody from doing what is to be done', async () => {
    const nowhere = new AuditLog(
      { clock: new ManualClock(), random: systemRandom, log: silentLog },
      join(path, 'no', 'folder'),
    );
    expect(await nowhere.audited(ENTRY, async () => 'done')).toBe('done');
  });
});
