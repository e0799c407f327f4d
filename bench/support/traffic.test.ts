import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MIX, seededNumbers, traffic } from './traffic.ts';

const photos = ['/photos/a.jpg', '/photos/b.jpg'];
const make = (seed: number, count = 1000) =>
  traffic(seed, count, 'site', (prefix) => photos.filter((path) => path.startsWith(prefix)));
const share = (method: string, path: RegExp) =>
  make(7).filter((asked) => asked.method === method && path.test(asked.path)).length;

describe('traffic', () => {
  test('is of a mix that adds up', () => {
    expect(MIX.reduce((sum, { percent }) => sum + percent, 0)).toBe(100);
  });

  test('has exactly the shares of the mix', () => {
    expect(share('GET', /^\/$/)).toBe(700);
    expect(share('GET', /^\/photos\/[ab]\.jpg$/)).toBe(200);
    expect(share('HEAD', /^\/$/)).toBe(50);
    expect(share('POST', /where$/)).toBe(50);
  });

  test('is the same for the same seed, and another for another', () => {
    expect(make(7)).toEqual(make(7));
    expect(make(7)).not.toEqual(make(8));
  });

  test('is shuffled: no kind comes in one piece', () => {
    const heads = make(7).flatMap(({ method }, index) => (method === 'HEAD' ? [index] : []));
    expect(Math.max(...heads) - Math.min(...heads)).toBeGreaterThan(500);
  });

  test('has as many requests as were wanted, whatever the shares come to', () => {
    fc.assert(fc.property(fc.integer({ min: 0, max: 300 }), (count) => make(1, count).length === count));
  });

  test('sends forms of 1 KiB', () => {
    expect(make(7).find(({ method }) => method === 'POST')?.body).toHaveLength(1024);
  });
});

test('seeded numbers lie from 0 to below 1, evenly enough', () => {
  const next = seededNumbers(3);
  const numbers = Array.from({ length: 10_000 }, next);
  expect(Math.min(...numbers)).toBeGreaterThanOrEqual(0);
  expect(Math.max(...numbers)).toBeLessThan(1);
  const tenths = Array.from({ length: 10 }, (_, tenth) =>
    numbers.filter((number) => Math.floor(number * 10) === tenth),
  );
  for (const tenth of tenths) expect(tenth.length).toBeGreaterThan(850);
});
