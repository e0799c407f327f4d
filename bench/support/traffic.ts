/**
 * What the visitors ask for: a fixed mix in an order that follows from a seed.
 * @module
 */
import type { Asked } from './visitor.ts';

/** One kind of request, and of how many in a hundred it is. */
interface Kind {
  readonly percent: number;
  readonly method: Asked['method'];
  /** Any of the site's paths that begin so. */
  readonly path: string;
  readonly bodyBytes?: number;
}

/** The page has 5 KiB; a picture 80 KB, more than a gateway may hold back before it sends it on. */
export const MIX: readonly [Kind, ...Kind[]] = [
  { percent: 70, method: 'GET', path: '/' },
  { percent: 20, method: 'GET', path: '/photos/' },
  { percent: 5, method: 'HEAD', path: '/' },
  { percent: 5, method: 'POST', path: '/cgi-bin/where', bodyBytes: 1024 },
];

export const MIX_IN_WORDS = '70 % GET 5 KiB page, 20 % GET 80 KB picture, 5 % HEAD, 5 % POST 1 KiB form';

/** Numbers from 0 to below 1 (mulberry32, Tommy Ettinger 2017): the same for the same seed, on every machine. */
export function seededNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * `count` requests with exactly the shares of the mix, shuffled; the rounding falls to its first kind.
 *
 * @param host to which they go.
 * @param paths the site's paths that begin with a kind's path.
 */
export function traffic(
  seed: number,
  count: number,
  host: string,
  paths: (prefix: string) => readonly string[],
): Asked[] {
  const next = seededNumbers(seed);
  const sized = MIX.flatMap((kind) => repeat(kind, Math.floor((count * kind.percent) / 100)));
  const kinds = [...repeat(MIX[0], count - sized.length), ...sized];
  return shuffled(kinds, next).map((kind) => {
    const choices = kind.path === '/' ? [] : paths(kind.path);
    const path = choices[Math.floor(next() * choices.length)] ?? kind.path;
    const { method, bodyBytes } = kind;
    return bodyBytes === undefined ? { method, host, path } : { method, host, path, body: form(bodyBytes) };
  });
}

const repeat = (kind: Kind, count: number): Kind[] => Array.from({ length: count }, () => kind);

/** Every order is as likely as every other (Fisher and Yates). */
function shuffled<Item>(items: readonly Item[], next: () => number): Item[] {
  const result = [...items];
  for (let last = result.length - 1; last > 0; last -= 1) {
    const other = Math.floor(next() * (last + 1));
    const [a, b] = [result[last], result[other]];
    if (a !== undefined && b !== undefined) [result[last], result[other]] = [b, a];
  }
  return result;
}

const form = (sizeBytes: number): Buffer => Buffer.from(`text=${'a'.repeat(sizeBytes - 5)}`);
