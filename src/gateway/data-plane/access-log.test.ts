import { execFileSync } from 'node:child_process';
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { smallDisk } from '../../../test/support/small-disk.ts';
import { temporaryFolder } from '../../../test/support/temporary-folder.ts';
import { ManualClock, systemClock } from '../../base/index.ts';
import { silentLog } from '../../platform/telemetry/index.ts';
import { AccessLog } from './access-log.ts';
import { type AccessLogFormat, accessLogLine, type Passage } from './access-log-line.ts';
import type { Exchange } from './data-plane.ts';

const EXCHANGE: Exchange = {
  origin: 'photos',
  servedBy: 'vm',
  status: 200,
  firstByteMs: 3.12345,
  originBytes: 0,
  vmBytes: 900,
  wasReplayed: false,
};
const PASSAGE: Passage = {
  client: { address: '192.0.2.1', protocol: 'HTTP/1.1' },
  request: {
    method: 'GET',
    target: '/a?b=c',
    host: 'photos.example',
    kept: 'User-Agent: curl/7.88\r\nReferer: http://a.example/\r\n',
  },
  durationMs: 5.25,
  sentBytes: 512,
  vm: 'photos-1',
};
/** 2026-11-21T12:30:05.123Z */
const AT_MS = Date.UTC(2026, 10, 21, 12, 30, 5, 123);

const isPrintable = (character: string): boolean =>
  character >= ' ' && !(character >= '\u007f' && character <= '\u009f');

describe('a line of the access log', () => {
  test('is the combined format of Apache and nginx', () => {
    expect(accessLogLine('common', EXCHANGE, PASSAGE, AT_MS)).toBe(
      '192.0.2.1 - - [21/Nov/2026:12:30:05 +0000] "GET /a?b=c HTTP/1.1" 200 512 "http://a.example/" "curl/7.88"\n',
    );
  });

  test('is JSON', () => {
    expect(JSON.parse(accessLogLine('json', EXCHANGE, PASSAGE, AT_MS))).toEqual({
      time: '2026-11-21T12:30:05.123Z',
      client: '192.0.2.1',
      method: 'GET',
      host: 'photos.example',
      path: '/a?b=c',
      protocol: 'HTTP/1.1',
      status: 200,
      bytes: 512,
      durationMs: 5.3,
      firstByteMs: 3.1,
      servedBy: 'vm/photos-1',
      origin: 'photos',
      wasReplayed: false,
    });
  });

  test('cannot be forged, whatever a client sends', () => {
    const text = fc.string({
      unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
    });
    fc.assert(
      fc.property(text, text, text, (target, host, agent) => {
        const request = {
          method: 'GET',
          target,
          host,
          kept: `User-Agent: ${agent.replaceAll(/[\r\n]/g, '')}\r\n`,
        };
        const passage = { ...PASSAGE, request };
        const common = accessLogLine('common', EXCHANGE, passage, AT_MS);
        // One line of printable ASCII, and no quote that is not the format's own.
        expect(common).toMatch(/^[\x20-\x7e]*\n$/);
        expect(common).toMatch(/^[^"]*"[^"]*"[^"]*"[^"]*" "[^"]*"\n$/);
        const json = accessLogLine('json', EXCHANGE, passage, AT_MS);
        expect(Array.from(json.slice(0, -1)).every(isPrintable)).toBe(true);
        expect(JSON.parse(json)).toMatchObject({ path: target, host, status: 200 });
      }),
    );
  });

  test('is bounded', () => {
    const request = {
      method: 'GET',
      target: `/${'"'.repeat(9000)}`,
      host: 'h'.repeat(9000),
      kept: `User-Agent: ${'é'.repeat(9000)}\r\nReferer: ${'é'.repeat(9000)}\r\n`,
    };
    for (const format of ['json', 'common'] as const) {
      expect(accessLogLine(format, EXCHANGE, { ...PASSAGE, request }, AT_MS).length).toBeLessThan(26_000);
    }
  });
});

describe('an access log', () => {
  test('is written every half second, all that came in one write', async () => {
    const { access, clock, lines } = await open();
    access.add(EXCHANGE, PASSAGE);
    access.add(EXCHANGE, PASSAGE);
    await clock.advance(499);
    expect(await lines()).toEqual([]);
    await clock.advance(1);
    await access.close();
    expect(await lines()).toHaveLength(2);
  });

  test('is written at once when there is much', async () => {
    const { access, lines } = await open();
    for (let i = 0; i < 400; i += 1) access.add(EXCHANGE, PASSAGE);
    while ((await lines()).length < 200) await systemClock.sleep(5);
    await access.close();
    expect(await lines()).toHaveLength(400);
  });

  test('holds whole lines only, however many processes write it', async () => {
    const folder = await temporaryFolder();
    const logs = await Promise.all(Array.from({ length: 4 }, () => open({ folder })));
    for (let round = 0; round < 50; round += 1) {
      for (const { access } of logs) for (let i = 0; i < 50; i += 1) access.add(EXCHANGE, PASSAGE);
      await new Promise((resolve) => setImmediate(resolve));
    }
    for (const { access } of logs) await access.close();
    const lines = await logs[0]?.lines();
    expect(lines).toHaveLength(10_000);
    expect(lines?.every((line) => (JSON.parse(line) as { status: number }).status === 200)).toBe(true);
  });

  test('goes on in a new file after it was renamed, and stays in the old one otherwise', async () => {
    const { access, file, lines } = await open();
    access.add(EXCHANGE, PASSAGE);
    await access.checkFile();
    const { ino } = await stat(file);
    await rename(file, `${file}.1`);
    await access.checkFile();
    access.add(EXCHANGE, PASSAGE);
    await access.close();
    expect((await stat(`${file}.1`)).ino).toBe(ino);
    expect(await lines()).toHaveLength(2);
  });

  test('drops and counts what the disk does not take, and never waits for it', async () => {
    const lost: number[] = [];
    const { access, clock } = await open({ observeLogLoss: (count) => lost.push(count) });
    // Nothing is written within one turn of the event loop, however much comes.
    for (let i = 0; i < 60_000; i += 1) access.add(EXCHANGE, PASSAGE);
    await clock.advance(500);
    await access.close();
    expect(lost.length).toBeGreaterThan(0);
    expect(lost.reduce((sum, each) => sum + each, 0)).toBeLessThan(60_000);
  });

  test('counts what a full disk has lost, tells it once, and begins with a line of its own afterwards', async (context) => {
    const folder = smallDisk(context);
    const filler = join(folder, 'filler');
    await writeFile(filler, Buffer.alloc(2 ** 20 - 8192));
    const errors: object[] = [];
    const lost: number[] = [];
    const { access, clock, lines } = await open({
      folder,
      log: { ...silentLog, error: (fields: object) => void errors.push(fields) },
      observeLogLoss: (count) => lost.push(count),
    });
    const sum = () => lost.reduce((total, each) => total + each, 0);
    for (let batch = 0; batch < 3; batch += 1) {
      const before = sum();
      for (let i = 0; i < 100; i += 1) access.add(EXCHANGE, PASSAGE);
      // What was lost is told with the batch after it.
      while (sum() === before) {
        await clock.advance(500);
        await systemClock.sleep(1);
        access.add(EXCHANGE, PASSAGE);
      }
    }
    expect(errors).toHaveLength(1);
    await rm(filler);
    access.add(EXCHANGE, { ...PASSAGE, vm: 'after' });
    await access.close();
    const written = await lines();
    const isWhole = (line: string) => line.endsWith('}') && line.startsWith('{');
    expect(written.filter((line) => !isWhole(line)).length).toBeLessThanOrEqual(1);
    expect(written.at(-1)).toContain('vm/after');
  });

  test('is refused with the file and the reason where it cannot be', async () => {
    const folder = await temporaryFolder();
    const code = 'access_log_unusable';
    await expect(open({ file: join(folder, 'missing', 'access.log') })).rejects.toMatchObject({ code });
    await mkdir(join(folder, 'folder'));
    await expect(open({ file: join(folder, 'folder') })).rejects.toMatchObject({ code });
    execFileSync('mkfifo', [join(folder, 'pipe')]);
    await expect(open({ file: join(folder, 'pipe') })).rejects.toMatchObject({ code });
    await expect(open({ file: '/dev/null' })).rejects.toThrow(/is no file/);
  });

  test('adds to what is there', async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'access.log'), 'before\n');
    const { access, lines } = await open({ folder });
    access.add(EXCHANGE, PASSAGE);
    await access.close();
    expect(await lines()).toEqual(['before', expect.stringContaining('photos')]);
  });
});

interface Given {
  readonly folder?: string;
  readonly file?: string;
  readonly format?: AccessLogFormat;
  readonly log?: typeof silentLog;
  readonly observeLogLoss?: (lines: number) => void;
}

async function open(given: Given = {}) {
  const { format = 'json', log = silentLog, observeLogLoss } = given;
  const clock = new ManualClock(AT_MS);
  const file = given.file ?? join(given.folder ?? (await temporaryFolder()), 'access.log');
  const access = await AccessLog.open({ clock, log, observeLogLoss }, { file, format });
  const lines = async () => (await readFile(file, 'utf8')).split('\n').filter((line) => line !== '');
  return { access, clock, file, lines };
}
