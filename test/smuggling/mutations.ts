import fc from 'fast-check';

/** Octets that have parted parsers before. */
const ODD_OCTETS = [
  '\r',
  '\n',
  '\r\n',
  ' ',
  '\t',
  '\0',
  '\x0b',
  ':',
  ',',
  ';',
  '\x7f',
  '\xa0',
  '\xff',
  '0',
  '-',
] as const;

/** What is put together to heads that are nearly right. */
const FRAGMENTS = [
  'GET /case HTTP/1.1\r\n',
  'POST /case HTTP/1.1\r\n',
  'POST /case HTTP/1.0\r\n',
  'OPTIONS * HTTP/1.1\r\n',
  'GET http://photos.example/case HTTP/1.1\r\n',
  'Host: photos.example\r\n',
  'Host: photos.example\r\n',
  'host:photos.example\r\n',
  'Content-Length: 5\r\n',
  'Content-Length: 0\r\n',
  'content-length:\t5\r\n',
  'Transfer-Encoding: chunked\r\n',
  'transfer-encoding: identity\r\n',
  'Connection: close\r\n',
  'Connection: keep-alive\r\n',
  'Expect: 100-continue\r\n',
  'X: y\r\n',
  'X: y\n',
  'X : y\r\n',
  ' folded\r\n',
  '\r\n',
  '\r\n',
  '\n',
  'hello',
  '5\r\nhello\r\n',
  '0\r\n\r\n',
  '0\r\nX: y\r\n\r\n',
] as const;

type Mutation = (octets: string) => string;

/** Where, as a share of the length. */
const place = fc.double({ min: 0, max: 1, noNaN: true });
const at = (octets: string, share: number): number => Math.floor(share * octets.length);

const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  fc.tuple(place, fc.integer({ min: 1, max: 255 })).map(
    ([share, bits]): Mutation =>
      (octets) => {
        const index = Math.min(at(octets, share), octets.length - 1);
        const flipped = String.fromCharCode(octets.charCodeAt(index) ^ bits);
        return octets.slice(0, index) + flipped + octets.slice(index + 1);
      },
  ),
  fc.tuple(place, fc.constantFrom(...ODD_OCTETS)).map(
    ([share, odd]): Mutation =>
      (octets) => {
        const index = at(octets, share);
        return octets.slice(0, index) + odd + octets.slice(index);
      },
  ),
  fc.tuple(place, fc.integer({ min: 1, max: 4 })).map(
    ([share, count]): Mutation =>
      (octets) => {
        const index = at(octets, share);
        return octets.slice(0, index) + octets.slice(index + count);
      },
  ),
  fc.tuple(place, place).map(
    ([from, to]): Mutation =>
      (octets) => {
        const lines = octets.split('\n');
        const line = lines[Math.min(at(lines.join(''), from) % lines.length, lines.length - 1)] ?? '';
        return lines.toSpliced(Math.floor(to * lines.length), 0, line).join('\n');
      },
  ),
  fc.tuple(place, fc.integer({ min: 1, max: 20 })).map(
    ([share, count]): Mutation =>
      (octets) => {
        const index = at(octets, share);
        const turned = octets
          .slice(index, index + count)
          .split('')
          .map((letter) => (letter === letter.toUpperCase() ? letter.toLowerCase() : letter.toUpperCase()));
        // Capital letters of some small ones lie beyond Latin-1.
        const kept = turned.map((letter, i) =>
          letter.charCodeAt(0) < 128 ? letter : (octets[index + i] ?? ''),
        );
        return octets.slice(0, index) + kept.join('') + octets.slice(index + count);
      },
  ),
);

/** One of `octets`, with one to three faults put in. */
export const mutated = (octets: readonly string[]): fc.Arbitrary<string> =>
  fc
    .tuple(fc.constantFrom(...octets), fc.array(mutation, { minLength: 1, maxLength: 3 }))
    .map(([whole, mutations]) => mutations.reduce((text, mutate) => mutate(text), whole));

/** Heads and bodies put together of pieces that each are nearly right. */
export const assembled: fc.Arbitrary<string> = fc
  .tuple(
    fc.constantFrom(...FRAGMENTS.slice(0, 5)),
    fc.array(fc.constantFrom(...FRAGMENTS), { minLength: 2, maxLength: 12 }),
  )
  .map(([requestLine, rest]) => requestLine + rest.join(''));
