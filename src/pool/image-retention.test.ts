import { describe, expect, test } from 'vitest';
import { goesWithWithdrawal, toEvict } from './image-retention.ts';

const use = (owner: string, digest: string, usedAtMs = 0, change = {}) => ({
  owner,
  digest,
  usedAtMs,
  wasFetched: true,
  isWithdrawn: false,
  ...change,
});
const none = new Set<string>();
const image = (digest: string, sizeBytes = 10) => ({ digest, sizeBytes });

describe('a withdrawn image', () => {
  const own = { owner: 'photos', digest: 'a' };

  test('goes when nobody else ran from it and nobody runs from it', () => {
    expect(goesWithWithdrawal(own, [use('photos', 'a')], none)).toBe(true);
    expect(
      goesWithWithdrawal(own, [use('photos', 'a'), use('news', 'a', 0, { isWithdrawn: true })], none),
    ).toBe(true);
  });

  test.for([
    ['another owner ran from it', [use('photos', 'a'), use('news', 'a')], none],
    ['a VM runs from it', [use('photos', 'a')], new Set(['a'])],
    ['the operator brought it', [use('photos', 'a', 0, { wasFetched: false })], none],
  ] as const)('stays when %s', ([, uses, inUse]) => {
    expect(goesWithWithdrawal(own, uses, inUse)).toBe(false);
  });
});

describe('images beyond the limit', () => {
  const images = ['a', 'b', 'c', 'd'].map((digest) => image(digest));
  const uses = [use('x', 'a', 30), use('x', 'b', 10), use('y', 'b', 40), use('x', 'c', 20), use('x', 'd', 5)];

  test('go in the order in which they were last used by anybody, and no more than have to', () => {
    expect(toEvict(images, uses, none, 40)).toEqual([]);
    expect(toEvict(images, uses, none, 39)).toEqual(['d']);
    expect(toEvict(images, uses, none, 15)).toEqual(['d', 'c', 'a']);
    expect(toEvict(images, uses, none, 0)).toEqual(['d', 'c', 'a', 'b']);
  });

  test('stay while a VM needs them, and when the operator brought them', () => {
    const brought = uses.map((one) => (one.digest === 'c' ? { ...one, wasFetched: false } : one));
    expect(toEvict(images, brought, new Set(['d']), 15)).toEqual(['a', 'b']);
    expect(toEvict([...images, image('e')], uses, none, 49)).toEqual(['d']);
  });
});
