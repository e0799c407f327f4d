import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bearerToken, newToken, TokenVerifier } from './token.ts';

const sha256 = (octets: Uint8Array): Uint8Array => createHash('sha256').update(octets).digest();

describe('a new token', () => {
  test('is all of its 256 bits in base64url', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (octets) => {
        const token = newToken({ bytes: () => octets });
        expect(token).toMatch(/^[A-Za-z0-9_-]{43}$/);
        expect(Buffer.from(token, 'base64url').equals(octets)).toBe(true);
      }),
    );
  });

  test('is found again in the header that carries it', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (octets) => {
        const token = newToken({ bytes: () => octets });
        expect(bearerToken(`Bearer ${token}`)).toBe(token);
      }),
    );
  });
});

describe('bearerToken', () => {
  test('reads the scheme in any case and keeps the padding', () => {
    expect(bearerToken('bearer  abc.DEF~1+2/3==')).toBe('abc.DEF~1+2/3==');
  });

  test.for([
    undefined,
    '',
    'Bearer',
    'Bearer ',
    'Basic YTpi',
    'Bearer a b',
    'Bearer a,b',
    'xBearer abc',
    'Bearer abc\nBearer def',
    `Bearer ${'a'.repeat(513)}`,
  ])('finds none in %j', (header) => {
    expect(bearerToken(header)).toBeUndefined();
  });
});

describe('TokenVerifier', () => {
  const verifier = new TokenVerifier(sha256, [
    ['token-of-photos', 'photos'],
    ['token-of-maps', 'maps'],
  ]);

  test('tells whose token it is', () => {
    expect(verifier.verify('token-of-photos')).toBe('photos');
    expect(verifier.verify('token-of-maps')).toBe('maps');
  });

  test('knows no other text, however close', () => {
    for (const text of ['', 'token-of-map', 'token-of-maps ', 'Token-of-maps', 'token-of-mapt']) {
      expect(verifier.verify(text)).toBeUndefined();
    }
  });

  test('compares every hash to its last octet, wherever the first difference is', () => {
    const reads: number[] = [];
    const watched = (first: number) =>
      new Proxy(new Uint8Array(32).fill(7).with(0, first), {
        get(target, key) {
          if (key === '31') reads.push(first);
          return Reflect.get(target, key, target) as unknown;
        },
      });
    const hashes = [watched(1), watched(2), watched(3), new Uint8Array(32)];
    const blind = new TokenVerifier(
      () => hashes.shift() ?? new Uint8Array(32),
      [
        ['a', 'a'],
        ['b', 'b'],
        ['c', 'c'],
      ],
    );
    expect(blind.verify('guess')).toBeUndefined();
    expect(reads).toEqual([1, 2, 3]);
  });
});
