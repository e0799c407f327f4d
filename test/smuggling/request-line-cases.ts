import {
  forwarded,
  forwardedLast,
  get,
  head,
  type RequestCase,
  refused,
  refusedAfter,
  refusedOrSilent,
  requestCase,
  SITE,
} from './request-case.ts';

const host = `Host: ${SITE}\r\n\r\n`;
const line = (requestLine: string) => head(requestLine);

/** Request lines (RFC 9112 §3): exactly `method SP target SP HTTP/1.x CRLF`. */
export const REQUEST_LINE_CASES: readonly RequestCase[] = [
  requestCase('a plain GET', line('GET /case HTTP/1.1'), forwarded({})),
  requestCase(
    'a target with a query',
    line('GET /case?a=b&c=%20d HTTP/1.1'),
    forwarded({ target: '/case?a=b&c=%20d' }),
  ),
  requestCase(
    'a target that begins with two slashes',
    line('GET //case HTTP/1.1'),
    forwarded({ target: '//case' }),
  ),
  requestCase(
    'dot segments, which are the origin’s to resolve',
    line('GET /a/../case HTTP/1.1'),
    forwarded({ target: '/a/../case' }),
  ),
  requestCase(
    'characters that browsers leave as they are',
    line('GET /c{a}|^`"<s>\\e HTTP/1.1'),
    forwarded({ target: '/c{a}|^`"<s>\\e' }),
  ),
  requestCase('HEAD', line('HEAD /case HTTP/1.1'), forwarded({ method: 'HEAD' })),
  requestCase('a method of WebDAV', line('PROPFIND /case HTTP/1.1'), forwarded({ method: 'PROPFIND' })),

  requestCase('a method in lower case', line('get /case HTTP/1.1'), refused(400, 501)),
  requestCase('a method that nobody knows', line('FETCH /case HTTP/1.1'), refused(400, 501)),
  requestCase('a method that begins like one', line('GETS /case HTTP/1.1'), refused(400, 501)),
  requestCase('a method with a NUL', line('GE\0T /case HTTP/1.1'), refused(400, 501)),
  requestCase('a method with a colon', line('GET: /case HTTP/1.1'), refused(400, 501)),
  requestCase('a method outside ASCII', line('G\xcbT /case HTTP/1.1'), refused(400, 501)),
  requestCase('a method without end', line(`${'A'.repeat(9000)} /case HTTP/1.1`), refused(400, 431, 501)),
  requestCase('no method', line(' /case HTTP/1.1'), refused(400, 501)),
  requestCase('a space before the method', line(' GET /case HTTP/1.1'), refused(400, 501)),
  requestCase('CONNECT', `CONNECT ${SITE}:443 HTTP/1.1\r\n${host}`, refused(400, 405, 501), {
    alsoSafe: refusedOrSilent(),
  }),
  requestCase('CONNECT with a path', line('CONNECT /case HTTP/1.1'), refused(400, 405, 501), {
    alsoSafe: refusedOrSilent(),
  }),
  requestCase(
    'TRACE with a body, which it must not have',
    head('TRACE /case HTTP/1.1', 'Content-Length: 2') + 'ab',
    refused(400),
    {
      alsoSafe: forwarded({ method: 'TRACE', body: 'ab' }),
    },
  ),

  requestCase('two spaces behind the method', line('GET  /case HTTP/1.1'), refused(400), {
    alsoSafe: forwarded({}),
  }),
  requestCase('a tab behind the method', line('GET\t/case HTTP/1.1'), refused(400, 501)),
  requestCase('two spaces before the version', line('GET /case  HTTP/1.1'), refused(400), {
    alsoSafe: forwarded({}),
  }),
  requestCase('a tab before the version', line('GET /case\tHTTP/1.1'), refused(400)),
  requestCase('a space in the target', line('GET /ca se HTTP/1.1'), refused(400)),
  requestCase('a tab in the target', line('GET /ca\tse HTTP/1.1'), refused(400)),
  requestCase(
    'a request line within the target',
    line('GET /case HTTP/1.1 /smuggled HTTP/1.1'),
    refused(400),
  ),
  requestCase('a space behind the version', line('GET /case HTTP/1.1 '), refused(400)),
  requestCase('a NUL in the target', line('GET /ca\0se HTTP/1.1'), refused(400)),
  requestCase('a DEL in the target', line('GET /ca\x7fse HTTP/1.1'), refused(400)),
  requestCase('a vertical tab in the target', line('GET /ca\x0bse HTTP/1.1'), refused(400)),
  requestCase('a target outside ASCII', line('GET /caf\xe9 HTTP/1.1'), refused(400)),
  requestCase('a target in raw UTF-8', line('GET /caf\xc3\xa9 HTTP/1.1'), refused(400)),
  requestCase('a fragment in the target', line('GET /case#part HTTP/1.1'), refused(400), {
    alsoSafe: forwarded({ target: '/case#part' }),
  }),
  requestCase('no target', line('GET  HTTP/1.1'), refused(400)),
  requestCase('a relative target', line('GET case HTTP/1.1'), refused(400)),
  requestCase('a query alone', line('GET ?a=b HTTP/1.1'), refused(400)),
  requestCase(
    'a target longer than a whole head may be',
    line(`GET /${'a'.repeat(20_000)} HTTP/1.1`),
    refusedOrSilent(414, 431),
  ),

  requestCase('a version in lower case', line('GET /case http/1.1'), refused(400, 505)),
  requestCase('a version in mixed case', line('GET /case Http/1.1'), refused(400, 505)),
  requestCase('HTTP/0.9, which has no version', 'GET /case\r\n', refused(400, 505)),
  requestCase('HTTP/0.9 with fields', `GET /case\r\n${host}`, refused(400, 505)),
  requestCase('HTTP/0.9 by name', line('GET /case HTTP/0.9'), refused(400, 505)),
  requestCase('HTTP/1.2', line('GET /case HTTP/1.2'), refused(400, 505)),
  requestCase('HTTP/2.0 in the clothes of HTTP/1', line('GET /case HTTP/2.0'), refused(400, 505)),
  requestCase('HTTP/3.0 in the clothes of HTTP/1', line('GET /case HTTP/3.0'), refused(400, 505)),
  requestCase('the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', refused(400, 505)),
  requestCase('a version of two digits', line('GET /case HTTP/1.10'), refused(400, 505)),
  requestCase('a version with a leading zero', line('GET /case HTTP/01.1'), refused(400, 505)),
  requestCase('a version with a comma', line('GET /case HTTP/1,1'), refused(400, 505)),
  requestCase('a version without its minor number', line('GET /case HTTP/1'), refused(400, 505)),
  requestCase('another protocol’s name', line('GET /case HTTPS/1.1'), refused(400, 505)),
  requestCase('another protocol’s name that nearly is ours', line('GET /case ICE/1.1'), refused(400, 505)),
  requestCase('a TLS handshake', '\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03', refused(400)),

  requestCase('one empty line before the request line', `\r\n${get()}`, forwarded({})),
  requestCase('two empty lines before the request line', `\r\n\r\n${get()}`, refused(400), {
    alsoSafe: forwarded({}),
  }),
  requestCase(
    'a thousand empty lines before the request line',
    `${'\r\n'.repeat(1000)}${get()}`,
    refused(400),
    {
      alsoSafe: forwarded({}),
    },
  ),
  requestCase('a bare LF before the request line', `\n${get()}`, refused(400), { alsoSafe: forwarded({}) }),
  requestCase('a bare CR before the request line', `\r${get()}`, refused(400), { alsoSafe: forwarded({}) }),
  requestCase('a space on the line before the request line', ` \r\n${get()}`, refused(400, 501)),
  requestCase('a NUL before the request line', `\0${get()}`, refused(400, 501)),
  requestCase('a byte order mark before the request line', `\xef\xbb\xbf${get()}`, refused(400, 501)),
  requestCase('a bare LF behind the request line', `GET /case HTTP/1.1\n${host}`, refused(400)),
  requestCase('a bare CR behind the request line', `GET /case HTTP/1.1\r${host}`, refused(400)),
  requestCase('two CRs behind the request line', `GET /case HTTP/1.1\r\r\n${host}`, refused(400)),
  requestCase('a NUL behind the request line', `GET /case HTTP/1.1\0\r\n${host}`, refused(400)),
  requestCase(
    'a sound request and then a broken one',
    `${get()}GET /case\r\n\r\n`,
    refusedAfter([{}], 400, 505),
  ),

  requestCase('HTTP/1.0, which ends with its answer', line('GET /case HTTP/1.0'), forwardedLast({})),
  requestCase(
    'HTTP/1.0 that wants to go on',
    head('GET /case HTTP/1.0', 'Connection: keep-alive'),
    forwarded({ hasNot: ['keep-alive'] }),
  ),
  requestCase(
    'HTTP/1.0 without a host, which no site can be told from',
    'GET /case HTTP/1.0\r\n\r\n',
    refused(400),
  ),
];
