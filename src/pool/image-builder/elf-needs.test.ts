import { describe, expect, test } from 'vitest';
import { elfFile } from '../../../test/support/elf-file.ts';
import { elfNeeds } from './elf-needs.ts';

describe('elfNeeds', () => {
  test('tells the loader and the libraries of a program', () => {
    expect(elfNeeds(elfFile(['libc.so.6', 'libm.so.6'], '/lib64/ld.so'), 'program')).toEqual({
      interpreter: '/lib64/ld.so',
      libraries: ['libc.so.6', 'libm.so.6'],
    });
  });

  test('a library has no loader', () => {
    expect(elfNeeds(elfFile(['libc.so.6']), 'library')).toEqual({ libraries: ['libc.so.6'] });
  });

  test('what is cut, or is something else, is told, wherever it is cut', () => {
    const whole = elfFile(['libc.so.6'], '/lib64/ld.so');
    const damaged = expect.objectContaining({ code: 'package_damaged' });
    expect(() => elfNeeds(Buffer.from('#!/bin/sh'), 'script')).toThrow(damaged);
    for (let length = 0; length < whole.length - 32; length += 7) {
      expect(() => elfNeeds(whole.subarray(0, length), 'cut')).toThrow(damaged);
    }
  });
});
