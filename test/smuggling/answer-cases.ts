import { type AnswerCase, answer, answerCase, FORGED, failed, ok, passed } from './answer-case.ts';

const LENGTH = 'Content-Length: 5';
const CHUNKED = 'Transfer-Encoding: chunked';
const CHUNKS = '5\r\nhello\r\n0\r\n\r\n';
/** What ends with its connection cannot be reused. */
const LAST = { isLast: true };
const once = { isReusable: false };

const stream = (chunks: string) => ok([CHUNKED], chunks);

const STATUS_LINES: Readonly<Record<string, string>> = {
  'a status below 100': 'HTTP/1.1 99 Low',
  'a status of 0': 'HTTP/1.1 000 None',
  'a status of four digits': 'HTTP/1.1 1000 High',
  'a status of two digits': 'HTTP/1.1 20 OK',
  'a negative status': 'HTTP/1.1 -200 OK',
  'a status in words': 'HTTP/1.1 OK',
  'no status': 'HTTP/1.1 ',
  'two spaces before the status': 'HTTP/1.1  200 OK',
  'a tab before the status': 'HTTP/1.1\t200 OK',
  'a version in lower case': 'http/1.1 200 OK',
  'HTTP/1.2': 'HTTP/1.2 200 OK',
  'HTTP/2.0': 'HTTP/2.0 200 OK',
  'HTTP/0.9': 'HTTP/0.9 200 OK',
  'another protocol': 'ICY 200 OK',
  'a control character in the reason': 'HTTP/1.1 200 O\x01K',
  'a NUL in the reason': 'HTTP/1.1 200 O\0K',
  'a bare CR in the reason': 'HTTP/1.1 200 O\rK',
  'a bare LF in the reason': 'HTTP/1.1 200 O\nX: K',
  'a space before the version': ' HTTP/1.1 200 OK',
  'a request line': 'GET / HTTP/1.1',
};

const LENGTHS: Readonly<Record<string, string>> = {
  'a plus sign': '+5',
  'a minus sign': '-5',
  'hexadecimal digits': '0x5',
  'a letter': '5a',
  'a space within': '5 5',
  'a list': '5, 6',
  'a list of equals': '5, 5',
  nothing: '',
  'a value of 2^64 and 5': '18446744073709551621',
  'a hundred digits': '9'.repeat(100),
  'a NUL': '5\0',
  'a no-break space': '\xa05',
};

const CODINGS: Readonly<Record<string, string>> = {
  'chunked, identity': 'chunked, identity',
  'chunked, chunked': 'chunked, chunked',
  xchunked: 'xchunked',
  identity: 'identity',
  gzip: 'gzip',
  nothing: '',
  'chunked with a vertical tab': '\x0bchunked',
  'chunked with a no-break space': '\xa0chunked',
};

const BAD_FIELDS: Readonly<Record<string, string>> = {
  'a space before a colon': 'X : y',
  'a line without a colon': 'X',
  'a field without a name': ': y',
  'a folded field': 'X: y\r\n z',
  'a Content-Length behind a fold': 'X: y\r\n Content-Length: 500',
  'a NUL in a value': 'X: a\0b',
  'a NUL in a name': 'X\0: b',
  'a control character in a value': 'X: a\x01b',
  'a bare CR in a value': 'X: a\rb',
  'a bare LF in a value': 'X: a\nY: b',
  'a bare LF and an empty line': 'X: a\n\nforged',
  'a name outside ASCII': 'X\xe9: y',
};

const BAD_CHUNKS: Readonly<Record<string, string>> = {
  'a size that is none': 'x\r\nhello\r\n0\r\n\r\n',
  'an empty size': '\r\nhello\r\n0\r\n\r\n',
  'a size with a sign': '+5\r\nhello\r\n0\r\n\r\n',
  'a size with a prefix': '0x5\r\nhello\r\n0\r\n\r\n',
  'a size of 2^64 and 5': '10000000000000005\r\nhello\r\n0\r\n\r\n',
  'a chunk that is too long': '5\r\nhellohello\r\n0\r\n\r\n',
  'a chunk without its end': '5\r\nhello0\r\n\r\n',
  'a size that ends with a bare LF': '5\nhello\r\n0\r\n\r\n',
  'a chunk that ends with a bare LF': '5\r\nhello\n0\r\n\r\n',
  'an extension with a bare LF': '5;a\nb\r\nhello\r\n0\r\n\r\n',
  'an extension without end': `5;${'a'.repeat(100_000)}\r\nhello\r\n0\r\n\r\n`,
  'a trailer with a space before its colon': '5\r\nhello\r\n0\r\nX : y\r\n\r\n',
  'a trailer with a bare LF': '5\r\nhello\r\n0\r\nX: y\n\r\n',
  'trailers without end': `5\r\nhello\r\n0\r\n${'X: y\r\n'.repeat(100_000)}\r\n`,
};

/** Answers of an origin that is broken, or somebody else's tool. */
export const ANSWER_CORPUS: readonly AnswerCase[] = [
  answerCase('an answer with a length', ok([LENGTH]), passed()),
  answerCase('an answer in chunks', stream(CHUNKS), passed()),
  answerCase('an answer that ends with its connection', ok([]), passed(once), LAST),
  answerCase('an answer of no length', ok(['Content-Length: 0'], ''), passed({ body: '' })),
  answerCase('an answer without a reason', answer('HTTP/1.1 200 ', [LENGTH], 'hello'), passed()),
  answerCase('an answer without a reason and its space', answer('HTTP/1.1 200', [LENGTH], 'hello'), passed()),
  answerCase('a reason outside ASCII', answer('HTTP/1.1 200 Gr\xfc\xdf', [LENGTH], 'hello'), passed()),
  answerCase(
    'a status that nobody knows',
    answer('HTTP/1.1 599 Odd', [LENGTH], 'hello'),
    passed({ status: 599 }),
  ),
  answerCase('a status of the sixth hundred', answer('HTTP/1.1 600 Odd', [LENGTH], 'hello'), failed, LAST),
  answerCase('an answer of HTTP/1.0', answer('HTTP/1.0 200 OK', [LENGTH], 'hello'), passed(once)),
  answerCase(
    'an answer of HTTP/1.0 that goes on',
    answer('HTTP/1.0 200 OK', [LENGTH, 'Connection: keep-alive'], 'hello'),
    passed(),
  ),
  answerCase(
    'an answer of HTTP/1.0 that ends with its connection',
    answer('HTTP/1.0 200 OK', [], 'hello'),
    passed(once),
    LAST,
  ),
  answerCase('an answer that closes', ok([LENGTH, 'Connection: close']), passed(once)),
  answerCase('chunks with extensions, which are dropped', stream('5;a=b\r\nhello\r\n0;c\r\n\r\n'), passed()),
  answerCase('an answer with a trailer', stream('5\r\nhello\r\n0\r\nX-Check: a\r\n\r\n'), passed()),
  answerCase(
    'an answer with the fields of one hop',
    ok([LENGTH, 'Keep-Alive: timeout=1', 'Proxy-Connection: close', 'Connection: X-Once', 'X-Once: 1']),
    passed({ hasNot: ['proxy-connection', 'x-once'] }),
  ),
  answerCase(
    'an answer whose Connection names its length',
    ok([LENGTH, 'Connection: Content-Length']),
    passed(),
  ),
  answerCase(
    'an answer whose Connection names its coding',
    ok([CHUNKED, 'Connection: Transfer-Encoding'], CHUNKS),
    passed(),
  ),
  answerCase(
    'an answer that claims who served it',
    ok([LENGTH, 'Orilla-Served-By: vm/forged']),
    passed({ hasNot: ['orilla-served-by'] }),
  ),

  ...Object.entries(STATUS_LINES).map(([what, line]) =>
    answerCase(`an answer with ${what}`, answer(line, [LENGTH], 'hello'), failed, {
      ...LAST,
      ...(/^HTTP\/(?:0\.9|2\.0) /.test(line) && { alsoSafe: passed(once) }),
    }),
  ),
  answerCase('an answer without a head', 'hello', failed, LAST),
  answerCase('an answer that begins with an empty line', `\r\n${ok([LENGTH])}`, failed, {
    ...LAST,
    alsoSafe: passed(once),
  }),
  answerCase('nothing', '', failed, LAST),
  answerCase('half of a head', 'HTTP/1.1 200 OK\r\nContent-Le', failed, LAST),
  answerCase('a head without its empty line', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n', failed, LAST),
  answerCase('a head without end', `HTTP/1.1 200 OK\r\n${'X: y\r\n'.repeat(100_000)}`, failed, LAST),
  answerCase('a line without end', `HTTP/1.1 200 OK\r\nX: ${'y'.repeat(500_000)}`, failed, LAST),
  answerCase('a head of 5,000 fields', ok([LENGTH, ...Array.from({ length: 5000 }, () => 'X: y')]), failed, {
    ...LAST,
    alsoSafe: passed(once),
  }),

  ...Object.entries(LENGTHS).map(([what, length]) =>
    answerCase(`a length with ${what}`, ok([`Content-Length: ${length}`]), failed, LAST),
  ),
  answerCase('two lengths', ok([LENGTH, 'Content-Length: 6']), failed, LAST),
  answerCase('two equal lengths', ok([LENGTH, LENGTH]), failed, { ...LAST, alsoSafe: passed(once) }),
  answerCase('a length and a coding', ok(['Content-Length: 15', CHUNKED], CHUNKS), failed, {
    ...LAST,
    alsoSafe: passed(once),
  }),
  answerCase('a coding and a length', ok([CHUNKED, LENGTH], CHUNKS), failed, {
    ...LAST,
    alsoSafe: passed(once),
  }),
  answerCase('two codings', ok([CHUNKED, CHUNKED], CHUNKS), failed, { ...LAST, alsoSafe: passed(once) }),
  answerCase('a coding in HTTP/1.0', answer('HTTP/1.0 200 OK', [CHUNKED], CHUNKS), failed, {
    ...LAST,
    alsoSafe: passed(once),
  }),
  answerCase('a coding before chunked', ok(['Transfer-Encoding: gzip, chunked'], CHUNKS), failed, {
    ...LAST,
    alsoSafe: passed(once),
  }),
  ...Object.entries(CODINGS).map(([what, coding]) =>
    answerCase(`a coding of ${what}`, ok([`Transfer-Encoding: ${coding}`], CHUNKS), failed, {
      ...LAST,
      // RFC 9112 §6.3: then the end of the connection is the end of the body.
      alsoSafe: passed({ ...once, body: coding.endsWith(', chunked') ? 'hello' : CHUNKS }),
    }),
  ),
  answerCase('a body shorter than its length', ok(['Content-Length: 10']), failed, LAST),
  answerCase(
    'a large body shorter than its length',
    ok(['Content-Length: 200000'], 'x'.repeat(100_000)),
    failed,
    LAST,
  ),
  answerCase('chunks without an end', stream('5\r\nhello\r\n'), failed, LAST),
  answerCase('chunks without the empty line', stream('5\r\nhello\r\n0\r\n'), failed, LAST),
  ...Object.entries(BAD_FIELDS).map(([what, line]) =>
    answerCase(`an answer with ${what}`, ok([line, LENGTH]), failed, LAST),
  ),
  answerCase('lines that end with bare LFs', 'HTTP/1.1 200 OK\nContent-Length: 5\n\nhello', failed, LAST),
  answerCase(
    'a head that ends with a bare LF',
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\nhello',
    failed,
    LAST,
  ),
  ...Object.entries(BAD_CHUNKS).map(([what, chunks]) =>
    answerCase(`chunks with ${what}`, stream(chunks), failed, LAST),
  ),

  answerCase('an answer and another one', ok([LENGTH]) + FORGED, passed(once)),
  answerCase('an answer in chunks and another one', stream(CHUNKS) + FORGED, passed(once)),
  answerCase(
    'an answer of no length and another one',
    ok(['Content-Length: 0'], '') + FORGED,
    passed({ ...once, body: '' }),
  ),
  answerCase('an answer and an octet more', ok([LENGTH], 'hello!'), passed(once)),
  answerCase('an answer and an empty line', ok([LENGTH], 'hello\r\n'), passed(once)),
  answerCase(
    'an answer and an interim answer',
    `${ok([LENGTH])}HTTP/1.1 103 Early Hints\r\n\r\n`,
    passed(once),
  ),
  answerCase(
    'an answer that closes and another one',
    ok([LENGTH, 'Connection: close']) + FORGED,
    passed(once),
  ),
  answerCase(
    'a body for HEAD that is another answer',
    ok([`Content-Length: ${FORGED.length}`], FORGED),
    passed({ ...once, body: '' }),
    { method: 'HEAD' },
  ),
  answerCase('an answer to HEAD', ok([LENGTH], ''), passed({ body: '' }), { method: 'HEAD' }),
  answerCase('an answer to HEAD in chunks that do not come', ok([CHUNKED], ''), passed({ body: '' }), {
    method: 'HEAD',
  }),
  answerCase('an answer to HEAD without a length', ok([], ''), passed({ body: '' }), { method: 'HEAD' }),
  answerCase(
    '204 with a body that is another answer',
    answer('HTTP/1.1 204 No Content', [], FORGED),
    passed({ ...once, status: 204, body: '' }),
  ),
  answerCase(
    '204 with a length and a body',
    answer('HTTP/1.1 204 No Content', [`Content-Length: ${FORGED.length}`], FORGED),
    passed({ ...once, status: 204, body: '', hasNot: ['content-length'] }),
    { alsoSafe: failed },
  ),
  answerCase(
    '204 with chunks',
    answer('HTTP/1.1 204 No Content', [CHUNKED], CHUNKS),
    passed({ ...once, status: 204, body: '' }),
    { alsoSafe: failed },
  ),
  answerCase(
    '304 with a length, which is that of the page',
    answer('HTTP/1.1 304 Not Modified', [LENGTH]),
    passed({ status: 304, body: '' }),
  ),
  answerCase(
    '304 with a body that is another answer',
    answer('HTTP/1.1 304 Not Modified', [`Content-Length: ${FORGED.length}`], FORGED),
    passed({ ...once, status: 304, body: '' }),
  ),

  answerCase('100 that nobody waits for', `HTTP/1.1 100 Continue\r\n\r\n${ok([LENGTH])}`, passed()),
  answerCase('early hints', `HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n${ok([LENGTH])}`, passed()),
  answerCase(
    'an interim answer with a length',
    `HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n${ok([LENGTH])}`,
    passed(),
    { alsoSafe: failed },
  ),
  answerCase(
    'a flood of interim answers',
    `${'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(10_000)}${ok([LENGTH])}`,
    failed,
    { alsoSafe: passed() },
  ),
  answerCase('interim answers and no answer', 'HTTP/1.1 103 Early Hints\r\n\r\n', failed, LAST),
  answerCase(
    '101 that nobody asked for',
    'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nforged',
    failed,
    LAST,
  ),
  answerCase(
    '101 that nobody asked for and an answer',
    `HTTP/1.1 101 Switching Protocols\r\n\r\n${FORGED}`,
    failed,
    LAST,
  ),
];
