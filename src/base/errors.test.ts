import { describe, expect, test } from 'vitest';
import { CodedError, defineErrors, hasCode, messageOf, systemCode } from './errors.ts';

const moonError = defineErrors({ moon_missing: 404, moon_full: 507 });
const noSpace = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });

describe('an error of a table', () => {
  test('has its code, the status of its row, a message and a cause', () => {
    const error = moonError('moon_full', 'no room on the moon', noSpace);
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({
      code: 'moon_full',
      status: 507,
      message: 'no room on the moon',
      cause: noSpace,
    });
  });

  test('has no cause when none is given', () => {
    expect('cause' in moonError('moon_missing', 'no moon tonight')).toBe(false);
  });
});

describe('hasCode', () => {
  const error: unknown = moonError('moon_missing', 'no moon tonight');

  test('tells our errors by any of the codes, and any of ours when none is named', () => {
    expect(hasCode(error, 'moon_full', 'moon_missing')).toBe(true);
    expect(hasCode(error, 'moon_full')).toBe(false);
    expect(hasCode(error)).toBe(true);
  });

  test('is false for an error of the system, whatever its code', () => {
    expect(hasCode(noSpace, 'ENOSPC')).toBe(false);
    expect(hasCode('moon_missing')).toBe(false);
  });
});

describe('systemCode', () => {
  test('finds the code of the system behind any number of other errors, ours among them', () => {
    const wrapped = moonError('moon_full', 'no room', new TypeError('write failed', { cause: noSpace }));
    expect(systemCode(noSpace)).toBe('ENOSPC');
    expect(systemCode(new Error('outermost', { cause: wrapped }))).toBe('ENOSPC');
  });

  test('never takes one of our codes for it', () => {
    expect(systemCode(new CodedError('EADDRINUSE', 500, 'ours'))).toBeUndefined();
    expect(systemCode(new Error('plain', { cause: 'ENOSPC' }))).toBeUndefined();
    expect(systemCode(undefined)).toBeUndefined();
  });
});

test('messageOf tells something of whatever was thrown', () => {
  expect([new Error('broken'), 'text', undefined, 7].map(messageOf)).toEqual([
    'broken',
    'text',
    'undefined',
    '7',
  ]);
});
