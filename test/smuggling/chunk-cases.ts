import { broken, forwarded, post, type RequestCase, requestCase, SMUGGLED } from './request-case.ts';

const stream = (body: string): string => post(['Transfer-Encoding: chunked'], body);
const END = '0\r\n\r\n';
/** One chunk `hello` whose size line is this, and then the end. */
const sized = (sizeLine: string): string => stream(`${sizeLine}\r\nhello\r\n${END}`);
const trailed = (trailers: string): string => stream(`5\r\nhello\r\n0\r\n${trailers}\r\n`);
const SENT = { method: 'POST', body: 'hello' };
/** What a body with a fault may be answered with, when it still is. */
const faulty = broken(400, 413, 431);

const BAD_SIZES: Readonly<Record<string, string>> = {
  'no digit': '',
  'only a space': ' ',
  'a prefix': '0x5',
  'a plus sign': '+5',
  'a minus sign': '-5',
  'a space before it': ' 5',
  'a tab before it': '\t5',
  'a space behind it': '5 ',
  'a tab behind it': '5\t',
  'a space within': '5 5',
  'an underscore': '0_5',
  'a letter beyond F': '5g',
  'a suffix': '5h',
  'a fraction': '5.0',
  quotes: '"5"',
  'a NUL': '5\0',
  'a NUL before it': '\x005',
  'a vertical tab': '\x0b5',
  'a no-break space': '\xa05',
  'a comma': '5,5',
  'a digit outside ASCII': '\xb25',
  'a bare CR behind it': '5\r',
  'a value of 2^53': '20000000000000',
  'a value of 2^64': '10000000000000000',
  'a value of 2^64 and 5': '10000000000000005',
  'a value of 2^32 behind more digits': '100000000000000000000000000000005',
  'more zeros than a size has digits': '0'.repeat(40) + '5',
  'a thousand zeros': '0'.repeat(1000) + '5',
  'no size but an extension': ';a=b',
};

const GOOD_EXTENSIONS: Readonly<Record<string, string>> = {
  'a name and a value': ';a=b',
  'only a name': ';a',
  'a quoted value': ';a="b c"',
  'a quoted value with an escaped quote': ';a="b\\"c"',
  'a quoted value with a semicolon': ';a="b;c=d"',
  'two of them': ';a=b;c=d',
};

const BAD_EXTENSIONS: Readonly<Record<string, string>> = {
  'a bare LF': ';a=b\nc',
  'a bare LF and a size behind it': ';\n5',
  'a bare CR': ';a=b\rc',
  'a bare CR at its end': ';a=b\r',
  'a line end in quotes': ';a="b\r\nc"',
  'a bare LF in quotes': ';a="b\nc"',
  'quotes that do not end': ';a="b',
  'a NUL': ';a=\0',
  'a control character in quotes': ';a="\x01"',
  'a comma instead of a semicolon': ',a=b',
  'an equals sign instead of a semicolon': '=a',
  'twenty thousand octets': `;a=${'b'.repeat(20_000)}`,
};

/** Chunk sizes, chunk ends, extensions and trailers (RFC 9112 §7.1). None of a client's chunk framing reaches the origin. */
export const CHUNK_CASES: readonly RequestCase[] = [
  requestCase('many chunks', stream(`1\r\nh\r\n3\r\nell\r\n1\r\no\r\n${END}`), forwarded(SENT)),
  requestCase(
    'a chunk size in capitals',
    stream(`A\r\n0123456789\r\n${END}`),
    forwarded({ method: 'POST', body: '0123456789' }),
  ),
  requestCase('a chunk size with leading zeros', sized('0005'), forwarded(SENT)),
  requestCase('a last chunk of several zeros', stream(`5\r\nhello\r\n000\r\n\r\n`), forwarded(SENT)),
  requestCase(
    'a chunk whose data looks like the end',
    stream(`5\r\n0\r\n\r\n\r\n${END}`),
    forwarded({ method: 'POST', body: END }),
  ),
  ...Object.entries(BAD_SIZES).map(([what, size]) =>
    requestCase(`a chunk size with ${what}`, sized(size), faulty, {
      ...(/^0{10}/.test(size) && { alsoSafe: forwarded(SENT) }),
      // Who takes it for a size waits for the rest.
      isCut: /^[12]0{13}/.test(size),
    }),
  ),

  requestCase('a chunk that ends with a bare LF', stream(`5\r\nhello\n${END}`), faulty),
  requestCase('a chunk that ends with a bare CR', stream(`5\r\nhello\r${END}`), faulty),
  requestCase('a chunk without its end', stream(`5\r\nhello${END}`), faulty),
  requestCase('a chunk with two octets too many', stream(`5\r\nhelloXX${END}`), faulty),
  requestCase('a chunk with one octet too many', stream(`5\r\nhellox\r\n${END}`), faulty),
  requestCase('a chunk with one octet too few', stream(`5\r\nhell\r\n${END}`), faulty),
  requestCase('a chunk size that ends with a bare LF', stream(`5\nhello\r\n${END}`), faulty),
  requestCase('a chunk size that ends with a bare CR', stream(`5\rhello\r\n${END}`), faulty),
  requestCase('a last chunk that ends with a bare LF', stream('5\r\nhello\r\n0\n\r\n'), faulty),
  requestCase('a last chunk that ends with two bare LFs', stream('5\r\nhello\r\n0\n\n'), faulty),
  requestCase('a last line that is a bare LF', stream('5\r\nhello\r\n0\r\n\n'), faulty),
  requestCase('a last line with a bare CR', stream('5\r\nhello\r\n0\r\n\rX'), faulty),
  requestCase('an empty line between two chunks', stream(`5\r\nhello\r\n\r\n${END}`), faulty),
  requestCase('a minus sign before the last chunk’s zero', stream('5\r\nhello\r\n-0\r\n\r\n'), faulty),
  requestCase('no last chunk', stream('5\r\nhello\r\n'), faulty, { isCut: true }),
  requestCase('a last chunk without its empty line', stream('5\r\nhello\r\n0\r\n'), faulty, { isCut: true }),
  requestCase('a chunked body that has not begun', stream(''), faulty, { isCut: true }),
  requestCase('a chunk that is cut', stream('ff\r\nhello'), faulty, { isCut: true }),
  requestCase('a chunk size without end', stream('0'.repeat(100_000)), faulty, { isCut: true }),

  ...Object.entries(GOOD_EXTENSIONS).map(([what, extension]) =>
    requestCase(`a chunk extension with ${what}, which is dropped`, sized(`5${extension}`), forwarded(SENT)),
  ),
  requestCase(
    'an extension of the last chunk, which is dropped',
    stream('5\r\nhello\r\n0;a=b\r\n\r\n'),
    forwarded(SENT),
  ),
  ...Object.entries(BAD_EXTENSIONS).map(([what, extension]) =>
    requestCase(`a chunk extension with ${what}`, sized(`5${extension}`), faulty),
  ),
  requestCase('white space before a chunk extension', sized('5 ;a=b'), faulty),
  requestCase('white space in a chunk extension', sized('5; a = b'), faulty),
  requestCase('an empty chunk extension', sized('5;'), faulty, { alsoSafe: forwarded(SENT) }),
  requestCase(
    'an extension that carries a request',
    stream(`5;a=${SMUGGLED.replaceAll('\r\n', '\n')}\r\nhello\r\n${END}`),
    faulty,
  ),
  requestCase(
    'chunk extensions that are small each and 40,000 octets together',
    stream(`${`1;a=${'b'.repeat(396)}\r\nx\r\n`.repeat(100)}${END}`),
    faulty,
    { alsoSafe: forwarded({ method: 'POST', body: 'x'.repeat(100) }) },
  ),

  requestCase(
    'a trailer, which does not become a field',
    trailed('X-Check: abc\r\n'),
    forwarded({ ...SENT }),
  ),
  ...['Content-Length: 3', 'Transfer-Encoding: chunked', 'Connection: close'].map((line) =>
    requestCase(`a trailer ${line}, which would frame what is framed`, trailed(`${line}\r\n`), faulty),
  ),
  ...[
    'Host: evil.example',
    'Trailer: X-Check',
    'Expect: 100-continue',
    'Bng-API-Server: 198.51.100.1',
    'bng_api_url: evil.example',
    'Signature: forged=:AAAA:',
    'Signature-Input: forged=()',
    'X-Forwarded-For: 198.51.100.1',
    'Authorization: Basic YTpi',
    'Orilla-Served-By: vm/forged',
  ].map((line) => {
    const name = (line.split(':')[0] ?? '').toLowerCase();
    return requestCase(
      `a trailer ${name}, which is dropped`,
      trailed(`${line}\r\n`),
      // The gateway's own fields of that name stand in the head; the value of the trailer must be nowhere.
      forwarded({ ...SENT, hasNotInTrailer: [name] }),
      { alsoSafe: faulty },
    );
  }),
  requestCase('a trailer with a space before its colon', trailed('X-Check : a\r\n'), faulty),
  requestCase('a trailer without a colon', trailed('X-Check\r\n'), faulty),
  requestCase('a trailer without a name', trailed(': a\r\n'), faulty),
  requestCase('a folded trailer', trailed('X-Check: a\r\n b\r\n'), faulty),
  requestCase('a trailer that ends with a bare LF', trailed('X-Check: a\n'), faulty),
  requestCase('a trailer with a bare CR', trailed('X-Check: a\rb\r\n'), faulty),
  requestCase('a trailer with a NUL', trailed('X-Check: a\0b\r\n'), faulty),
  requestCase('a request line among the trailers', trailed('GET /smuggled HTTP/1.1\r\n'), faulty),
  requestCase('a trailer of twenty thousand octets', trailed(`X-Check: ${'a'.repeat(20_000)}\r\n`), faulty),
  requestCase('a thousand trailers', trailed('X-Check: a\r\n'.repeat(1000)), faulty, {
    alsoSafe: forwarded(SENT),
  }),
  requestCase('trailers without end', trailed('X-Check: a\r\n'.repeat(20_000)), faulty),
];
