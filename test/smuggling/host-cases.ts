import { answered, forwarded, head, type RequestCase, refused, requestCase, SITE } from './request-case.ts';

const withHost = (...values: readonly string[]): string =>
  ['GET /case HTTP/1.1', ...values.map((value) => `Host: ${value}`), '', ''].join('\r\n');

/** A target in absolute form beside a `Host`. */
const absolute = (target: string, host: string = SITE): string =>
  `GET ${target} HTTP/1.1\r\nHost: ${host}\r\n\r\n`;

/** Who is asked: `Host` and the request target (RFC 9112 §3.2). The gateway and the origin must read the same name. */
export const HOST_CASES: readonly RequestCase[] = [
  requestCase('a Host in capitals', withHost('PHOTOS.Example'), forwarded({ host: 'PHOTOS.Example' })),
  requestCase('a Host with a port', withHost(`${SITE}:8080`), forwarded({ host: `${SITE}:8080` })),
  requestCase('a Host with the root’s dot', withHost(`${SITE}.`), forwarded({ host: `${SITE}.` })),
  requestCase('white space around a Host', withHost(`\t ${SITE} \t`), forwarded({})),
  requestCase('no Host', withHost(), answered(400)),
  requestCase('an empty Host', withHost(''), answered(400)),
  requestCase('two Hosts', withHost(SITE, 'evil.example'), answered(400), { alsoSafe: forwarded({}) }),
  requestCase('two Hosts, the second of which is ours', withHost('evil.example', SITE), answered(400), {
    alsoSafe: answered(404),
  }),
  requestCase('two equal Hosts', withHost(SITE, SITE), answered(400), { alsoSafe: forwarded({}) }),
  requestCase('a Host and an empty one', withHost(SITE, ''), answered(400), { alsoSafe: forwarded({}) }),
  requestCase('a list of Hosts', withHost(`${SITE}, evil.example`), answered(400)),
  requestCase('a Host with a path', withHost(`${SITE}/case`), answered(400)),
  requestCase('a Host with a query', withHost(`${SITE}?a`), answered(400)),
  requestCase('a Host with a fragment', withHost(`${SITE}#a`), answered(400)),
  requestCase('a Host with user info', withHost(`user@${SITE}`), answered(400)),
  requestCase('a Host whose user info is ours', withHost(`${SITE}@evil.example`), answered(400)),
  requestCase('a Host whose password is ours', withHost(`user:${SITE}@evil.example`), answered(400)),
  requestCase('a Host with a scheme', withHost(`http://${SITE}`), answered(400)),
  requestCase('a Host with a backslash', withHost(`evil.example\\${SITE}`), answered(400)),
  requestCase('a Host with a space', withHost(`${SITE} evil.example`), answered(400)),
  requestCase('a Host with a no-break space', withHost(`\xa0${SITE}`), answered(400)),
  requestCase('a Host with a NUL', withHost(`${SITE}\0`), refused(400)),
  requestCase('a Host outside ASCII', withHost(`ph\xf6tos.example`), answered(400)),
  requestCase('a Host with an encoded octet', withHost(`photos%2eexample`), answered(400)),
  requestCase('a Host with a port that is none', withHost(`${SITE}:http`), answered(400)),
  requestCase('a Host with two ports', withHost(`${SITE}:80:81`), answered(400)),
  requestCase('a Host with an empty port', withHost(`${SITE}:`), answered(400)),
  requestCase('a Host with a signed port', withHost(`${SITE}:+80`), answered(400)),
  requestCase('a Host with a port that cannot be', withHost(`${SITE}:99999`), answered(400), {
    alsoSafe: forwarded({ host: `${SITE}:99999` }),
  }),
  requestCase('a Host with an empty label', withHost('photos..example'), answered(400, 404)),
  requestCase('a Host that begins with a dot', withHost(`.${SITE}`), answered(400)),
  requestCase('a broken IPv6 address', withHost('[::1'), answered(400)),
  requestCase('a Host of another site', withHost('elsewhere.example'), answered(404)),
  requestCase('a Host longer than a name can be', withHost(`${'a'.repeat(300)}.example`), answered(400)),
  requestCase('a Host that is folded', `GET /case HTTP/1.1\r\nHost:\r\n ${SITE}\r\n\r\n`, refused(400)),
  requestCase('a Host behind a folded Host', head('GET /case HTTP/1.1', ' Host: evil.example'), refused(400)),
  requestCase(
    'a Host with a space before its colon',
    `GET /case HTTP/1.1\r\nHost : ${SITE}\r\n\r\n`,
    refused(400),
  ),
  requestCase(
    'a second Host with a space before its colon',
    head('GET /case HTTP/1.1', 'Host : evil.example'),
    refused(400),
  ),

  requestCase(
    'an absolute form, which is sent on in origin form',
    absolute(`http://${SITE}/case?a`),
    forwarded({ target: '/case?a' }),
  ),
  requestCase(
    'an absolute form that contradicts its Host, which does not count',
    absolute(`http://${SITE}/case`, 'evil.example'),
    forwarded({}),
  ),
  requestCase(
    'an absolute form of another site under our Host',
    absolute('http://elsewhere.example/case'),
    answered(404),
  ),
  requestCase('an absolute form with a scheme in capitals', absolute(`HTTP://${SITE}/case`), forwarded({})),
  requestCase('an absolute form without a path', absolute(`http://${SITE}`), forwarded({ target: '/' })),
  requestCase(
    'an absolute form with only a query',
    absolute(`http://${SITE}?a`),
    forwarded({ target: '/?a' }),
  ),
  requestCase('an absolute form without a Host', `GET http://${SITE}/case HTTP/1.1\r\n\r\n`, answered(400)),
  requestCase('an absolute form with a bad Host', absolute(`http://${SITE}/case`, 'a b'), answered(400), {
    alsoSafe: forwarded({}),
  }),
  requestCase(
    'an absolute form with two Hosts',
    `GET http://${SITE}/case HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n`,
    answered(400),
    {
      alsoSafe: forwarded({}),
    },
  ),
  requestCase('an absolute form with user info', absolute(`http://user@${SITE}/case`), answered(400)),
  requestCase(
    'an absolute form whose user info is ours',
    absolute(`http://${SITE}@evil.example/case`),
    answered(400),
  ),
  requestCase('an absolute form with an empty host', absolute('http:///case'), answered(400)),
  requestCase(
    'an absolute form with a backslash',
    absolute(`http://evil.example\\@${SITE}/case`),
    answered(400),
  ),
  requestCase('an absolute form with a fragment', absolute(`http://${SITE}/case#a`), answered(400)),
  requestCase('an absolute form of another scheme', absolute(`ftp://${SITE}/case`), answered(400)),
  requestCase('an absolute form with a bad port', absolute(`http://${SITE}:port/case`), answered(400)),
  requestCase('an absolute form with one slash', absolute(`http:/${SITE}/case`), answered(400)),
  requestCase('an authority as the target of a GET', absolute(`${SITE}:80`), answered(400)),

  requestCase(
    'OPTIONS of the whole server',
    head('OPTIONS * HTTP/1.1'),
    forwarded({ method: 'OPTIONS', target: '*' }),
  ),
  requestCase(
    'OPTIONS of the whole server in absolute form (RFC 9112 §3.2.4)',
    head(`OPTIONS http://${SITE} HTTP/1.1`),
    forwarded({ method: 'OPTIONS', target: '*' }),
    {
      alsoSafe: forwarded({ method: 'OPTIONS', target: '/' }),
    },
  ),
  requestCase('GET of the whole server, which only OPTIONS can ask', head('GET * HTTP/1.1'), answered(400), {
    alsoSafe: forwarded({ target: '*' }),
  }),
  requestCase('a target that begins with an asterisk', head('OPTIONS *case HTTP/1.1'), answered(400)),
];
