import {
  broken,
  forwarded,
  forwardedLast,
  get,
  head,
  post,
  type RequestCase,
  refused,
  requestCase,
  SMUGGLED,
} from './request-case.ts';

const withLength = (value: string, body = 'hello'): string => post([`Content-Length: ${value}`], body);
const SENT = { method: 'POST', body: 'hello' };

/** Bodies framed by `Content-Length` (RFC 9112 §6.2, §6.3): one field, digits only, no leading zero, below 2^53. */
export const CONTENT_LENGTH_CASES: readonly RequestCase[] = [
  requestCase('a Content-Length', withLength('5'), forwarded({ ...SENT, has: { 'content-length': '5' } })),
  requestCase(
    'a Content-Length with spaces and tabs around it',
    post(['Content-Length:\t 5 \t'], 'hello'),
    forwarded({ ...SENT, has: { 'content-length': '5' } }),
  ),
  requestCase('a Content-Length without white space', post(['content-length:5'], 'hello'), forwarded(SENT)),
  requestCase('a Content-Length of nothing', withLength('0', ''), forwarded({ method: 'POST' })),
  requestCase('a POST without any framing, which has no body', post([], ''), forwarded({ method: 'POST' })),
  requestCase(
    'a GET with a body',
    head('GET /case HTTP/1.1', 'Content-Length: 5') + 'hello',
    forwarded({ body: 'hello' }),
  ),
  requestCase(
    'a DELETE with a body',
    head('DELETE /case HTTP/1.1', 'Content-Length: 5') + 'hello',
    forwarded({ method: 'DELETE', body: 'hello' }),
  ),
  requestCase(
    'a HEAD with a body',
    head('HEAD /case HTTP/1.1', 'Content-Length: 5') + 'hello',
    forwarded({ method: 'HEAD', body: 'hello' }),
  ),
  requestCase(
    'a body that looks like a request',
    withLength(String(SMUGGLED.length), SMUGGLED),
    forwarded({ method: 'POST', body: SMUGGLED }),
  ),
  requestCase(
    'a GET whose body looks like a request',
    head('GET /case HTTP/1.1', `Content-Length: ${SMUGGLED.length}`) + SMUGGLED,
    forwarded({ body: SMUGGLED }),
  ),
  requestCase(
    'a GET of no length, behind which stands another request',
    get('Content-Length: 0') + get(),
    forwarded({}, {}),
  ),
  requestCase(
    'HTTP/1.0 with a body',
    head('POST /case HTTP/1.0', 'Content-Length: 5') + 'hello',
    forwardedLast(SENT),
  ),
  requestCase('a body that ends early', withLength('10'), broken(400), { isCut: true }),
  requestCase('a large body that ends early', withLength('200000', 'x'.repeat(100_000)), broken(400), {
    isCut: true,
  }),

  ...Object.entries({
    'a sign': '+5',
    'a minus sign': '-5',
    'a minus sign before nothing': '-0',
    'hexadecimal digits': '0x5',
    'a fraction': '5.0',
    'an exponent': '5e0',
    'an underscore': '1_0',
    'a space within': '5 5',
    'a tab within': '5\t5',
    'a comma behind it': '5,',
    'a comma before it': ',5',
    'a semicolon': '5;a=b',
    quotes: '"5"',
    'a vertical tab before it': '\x0b5',
    'a vertical tab behind it': '5\x0b',
    'a form feed': '\x0c5',
    'a no-break space before it': '\xa05',
    'a no-break space behind it': '5\xa0',
    'a NUL': '5\0',
    'a DEL': '5\x7f',
    'a letter': '5a',
    'no digit': 'five',
    'a bare CR': '5\r',
    'a superscript digit': '\xb9',
  }).map(([what, value]) => requestCase(`a Content-Length with ${what}`, withLength(value), refused(400))),
  requestCase('an empty Content-Length', post(['Content-Length:'], ''), refused(400)),
  requestCase('a Content-Length of white space', post(['Content-Length: \t '], ''), refused(400)),
  requestCase(
    'a Content-Length with leading zeros, which some read as octal',
    withLength('005'),
    refused(400),
    {
      alsoSafe: forwarded(SENT),
    },
  ),
  requestCase('a Content-Length of many zeros', withLength('0'.repeat(400), ''), refused(400), {
    alsoSafe: forwarded({ method: 'POST' }),
  }),
  requestCase('a Content-Length of 2^53', withLength('9007199254740992'), refused(400, 413), {
    alsoSafe: broken(400),
    isCut: true,
  }),
  requestCase('a Content-Length of 2^63', withLength('9223372036854775808'), refused(400, 413), {
    alsoSafe: broken(400),
    isCut: true,
  }),
  requestCase(
    'a Content-Length of 2^64, which is 0 for some',
    withLength('18446744073709551616'),
    refused(400, 413),
  ),
  requestCase('a Content-Length of 2^64 and 5', withLength('18446744073709551621'), refused(400, 413)),
  requestCase('a Content-Length of a hundred digits', withLength('9'.repeat(100)), refused(400, 413)),

  requestCase(
    'two Content-Lengths',
    post(['Content-Length: 5', 'Content-Length: 6'], 'hello!'),
    refused(400),
  ),
  requestCase(
    'two Content-Lengths apart',
    post(['Content-Length: 5', 'X: y', 'content-length: 0'], 'hello'),
    refused(400),
  ),
  requestCase(
    'two equal Content-Lengths',
    post(['Content-Length: 5', 'Content-Length: 5'], 'hello'),
    refused(400),
  ),
  requestCase(
    'two equal Content-Lengths of nothing',
    post(['Content-Length: 0', 'Content-Length: 0'], ''),
    refused(400),
  ),
  requestCase('a list of Content-Lengths', withLength('5, 6'), refused(400)),
  requestCase('a list of equal Content-Lengths', withLength('5, 5'), refused(400)),
  requestCase(
    'a Content-Length and an empty one',
    post(['Content-Length: 5', 'Content-Length:'], 'hello'),
    refused(400),
  ),
  requestCase(
    'a Content-Length with a space before its colon',
    post(['Content-Length : 5'], 'hello'),
    refused(400),
  ),
  requestCase(
    'a Content-Length with a tab before its colon',
    post(['Content-Length\t: 5'], 'hello'),
    refused(400),
  ),
  requestCase(
    'a second Content-Length with a space before its colon',
    post(['Content-Length: 0', 'Content-Length : 5'], ''),
    refused(400),
  ),
  requestCase('a Content-Length that is folded', post(['Content-Length:', ' 5'], 'hello'), refused(400)),
  requestCase(
    'a Content-Length that is folded in the middle',
    post(['Content-Length: 5', ' 0'], 'hello'),
    refused(400),
  ),
  requestCase('a Content-Length behind a fold', post(['X: y', ' Content-Length: 5'], 'hello'), refused(400)),
  requestCase(
    'a Content-Length with a NUL in its name',
    post(['Content\0-Length: 5'], 'hello'),
    refused(400),
  ),
  requestCase('a Content-Length behind a bare CR', post(['X: y\rContent-Length: 5'], 'hello'), refused(400)),
  requestCase('a Content-Length behind a bare LF', post(['X: y\nContent-Length: 5'], 'hello'), refused(400)),
  requestCase('a Content-Length before a bare LF', post(['Content-Length: 5\nX: y'], 'hello'), refused(400)),
  requestCase(
    'a Content-Length that is shorter than what is sent',
    withLength('0', SMUGGLED.replace('/smuggled', '/case')),
    forwarded({ method: 'POST' }, {}),
  ),

  requestCase(
    'Content_Length, which CGI reads as Content-Length',
    post(['Content_Length: 5'], ''),
    forwarded({ method: 'POST', hasNot: ['content_length'] }),
    {
      alsoSafe: forwarded({ method: 'POST' }),
    },
  ),
  requestCase(
    'Content_Length beside a Content-Length',
    post(['Content_Length: 0', 'Content-Length: 5'], 'hello'),
    forwarded({ ...SENT, hasNot: ['content_length'] }),
    {
      alsoSafe: forwarded(SENT),
    },
  ),
];
