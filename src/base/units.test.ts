import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatBytes, formatDuration, parseBytes, parseDurationMs } from './units.ts';

describe('sizes', () => {
  test('are read in binary units', () => {
    expect(['0 B', '128 MiB', '1.5KiB', ' 2 TiB ', '64  GiB'].map(parseBytes)).toEqual([
      0,
      128 * 2 ** 20,
      1536,
      2 * 2 ** 40,
      64 * 2 ** 30,
    ]);
  });

  test('are written with at most one decimal', () => {
    expect([0, 1023, 1024, 1536, 128 * 2 ** 20, 5 * 2 ** 40].map(formatBytes)).toEqual([
      '0 B',
      '1023 B',
      '1 KiB',
      '1.5 KiB',
      '128 MiB',
      '5 TiB',
    ]);
  });

  test('come back from their text within half of the decimal that is written', () => {
    fc.assert(
      fc.property(fc.nat({ max: 2 ** 47 }), (sizeBytes) => {
        const read = parseBytes(formatBytes(sizeBytes)) ?? Number.NaN;
        expect(Math.abs(read - sizeBytes)).toBeLessThanOrEqual(
          Math.max(0.051 * 1024 ** scaleOf(sizeBytes), 0.5),
        );
      }),
    );
  });
});

const scaleOf = (sizeBytes: number): number =>
  sizeBytes < 1024 ? 0 : Math.min(4, Math.floor(Math.log(sizeBytes) / Math.log(1024)));

describe('durations', () => {
  test('are read in ms, s, min and h', () => {
    expect(['250 ms', '1.5 s', '2min', '1 h', '0 s'].map(parseDurationMs)).toEqual([
      250, 1500, 120_000, 3_600_000, 0,
    ]);
  });

  test('are written in the unit that a person would choose', () => {
    expect([0.42, 42.3, 1540, 90_000, 150_000, 9_000_000].map(formatDuration)).toEqual([
      '0.4 ms',
      '42 ms',
      '1.5 s',
      '90 s',
      '3 min',
      '2.5 h',
    ]);
  });

  test('come back from their text within a fifth', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 10 ** 9 }), (durationMs) => {
        const read = parseDurationMs(formatDuration(durationMs)) ?? Number.NaN;
        expect(Math.abs(read - durationMs) / durationMs).toBeLessThanOrEqual(0.2);
      }),
    );
  });
});

describe('a text that is no size and no duration', () => {
  test.for([
    '',
    '128',
    'MiB',
    '-1 B',
    '1e3 B',
    '1. KiB',
    '1,5 KiB',
    '1 MB',
    '1 mib',
    '1 MiB x',
    '0x10 B',
    '1 month',
    '1 constructor',
    '1 toString',
    '1234567890123 B',
    '999999999999 TiB',
  ])('%j is neither', (text) => {
    expect(parseBytes(text)).toBeUndefined();
    expect(parseDurationMs(text)).toBeUndefined();
  });

  test('is undefined or a whole number, whatever it is', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^\d*\.?\d* ?[a-zA-Z]+$/)), (text) => {
        for (const value of [parseBytes(text), parseDurationMs(text)]) {
          expect(value === undefined || (Number.isSafeInteger(value) && value >= 0)).toBe(true);
        }
      }),
    );
  });
});
