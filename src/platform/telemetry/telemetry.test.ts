import { describe, expect, test } from 'vitest';
import { defineErrors } from '../../base/index.ts';
import { Health } from './health.ts';
import { createLog, type LogLevel, silentLog } from './log.ts';

function recordingLog(level: LogLevel = 'debug') {
  const lines: string[] = [];
  const log = createLog(level, { write: (line) => void lines.push(line) });
  return { log, lines, records: () => lines.map((line) => JSON.parse(line) as Record<string, unknown>) };
}

describe('a log', () => {
  test('is one JSON record a line: level, time, fields and a message', () => {
    const { log, lines, records } = recordingLog();
    log.warn({ vm: 'photos', text: 'two\nlines' }, 'machine failed');
    expect(lines[0]?.match(/\n/g)).toHaveLength(1);
    expect(records()).toEqual([
      {
        level: 'warn',
        time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
        vm: 'photos',
        text: 'two\nlines',
        msg: 'machine failed',
      },
    ]);
  });

  test('carries the fields of a child in each of its lines', () => {
    const { log, records } = recordingLog();
    log.child({ vm: 'photos' }).info({ attempt: 2 }, 'starting');
    expect(records()).toMatchObject([{ vm: 'photos', attempt: 2 }]);
  });

  test('never shows a credential, wherever it is put in', () => {
    const { log, lines, records } = recordingLog();
    const secret = 'c2VjcmV0';
    log.info({ token: secret, origin: { name: 'photos', token: secret } }, 'one');
    log.info({ authorization: secret, headers: { authorization: secret } }, 'two');
    log.info({ request: { headers: { authorization: secret }, body: { token: secret } } }, 'three');
    log.error({ err: Object.assign(new Error('refused'), { token: secret }) }, 'four');
    log.child({ token: secret }).info({}, 'five');
    log.child({ origin: { token: secret } }).info({}, 'six');
    expect(lines.join('')).not.toContain(secret);
    expect(records()[0]).toMatchObject({ token: '[Redacted]', origin: { name: 'photos' } });
    expect(records()).toHaveLength(6);
  });

  test('tells an error with its code, its message and its cause', () => {
    const { log, records } = recordingLog();
    const moonError = defineErrors({ moon_full: 507 });
    log.error(
      { err: moonError('moon_full', 'no room', new Error('ENOSPC: no space left')) },
      'landing failed',
    );
    expect(records()[0]).toMatchObject({
      err: { code: 'moon_full', message: expect.stringMatching(/no room.*ENOSPC/) },
    });
  });

  test('leaves out what is below its level', () => {
    const { log, records } = recordingLog('warn');
    log.debug({}, 'a');
    log.info({}, 'b');
    log.warn({}, 'c');
    log.error({}, 'd');
    expect(records().map(({ msg }) => msg)).toEqual(['c', 'd']);
    expect(() => silentLog.child({}).error({}, 'unheard')).not.toThrow();
  });
});

describe('the health of a process', () => {
  test('is that of all its parts, asked anew each time', () => {
    const health = new Health();
    expect(health.report()).toEqual({ ready: true, parts: {} });
    let isFull = false;
    health.register('store', () => ({ ready: true }));
    health.register('pool', () => (isFull ? { ready: false, reason: 'the disk is full' } : { ready: true }));
    expect(health.report().ready).toBe(true);
    isFull = true;
    expect(health.report()).toEqual({
      ready: false,
      parts: { store: { ready: true }, pool: { ready: false, reason: 'the disk is full' } },
    });
  });
});
