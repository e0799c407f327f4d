import { describe, expect, test } from 'vitest';
import { randomId, systemRandom } from './random.ts';

describe('randomId', () => {
  test('spends 5 bits of an octet on each character, without letters that look alike', () => {
    const counting = { bytes: (count: number) => Uint8Array.from({ length: count }, (_, index) => index) };
    expect(randomId(counting, 64)).toBe('0123456789abcdefghjkmnpqrstvwxyz'.repeat(2));
  });

  test('makes a DNS label of the length that is asked for, another one each time', () => {
    const ids = Array.from({ length: 200 }, () => randomId(systemRandom));
    for (const id of ids) expect(id).toMatch(/^[0-9a-hjkmnp-tv-z]{16}$/);
    expect(new Set(ids).size).toBe(ids.length);
    expect(randomId(systemRandom, 5)).toHaveLength(5);
  });
});
