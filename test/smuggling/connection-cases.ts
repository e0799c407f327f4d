import {
  answered,
  broken,
  chunked,
  forwarded,
  forwardedLast,
  get,
  head,
  post,
  type RequestCase,
  refused,
  refusedAfter,
  requestCase,
  SITE,
  SMUGGLED,
} from './request-case.ts';

const TAG = { 'bng-api-server': '192.0.2.1' };
const WEB_SOCKET = [
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
];
const HOP_BY_HOP = ['connection', 'keep-alive', 'proxy-connection', 'te', 'upgrade', 'proxy-authorization'];
const SENT = { method: 'POST', body: 'hello' };

/** What holds for one connection only: `Connection`, `Upgrade`, `Expect`, pipelining (RFC 9110 §7.6.1, §7.8, §10.1.1). */
export const CONNECTION_CASES: readonly RequestCase[] = [
  requestCase('the tag, on every request', get(), forwarded({ has: TAG })),
  requestCase('Connection: close', get('Connection: close'), forwardedLast({ has: TAG })),
  requestCase('Connection: Close in a list', get('Connection: foo, ClOsE'), forwardedLast({})),
  requestCase(
    'Connection: close among two of them',
    get('Connection: keep-alive', 'Connection: close'),
    forwardedLast({}),
  ),
  requestCase('Connection: keep-alive in HTTP/1.1', get('Connection: keep-alive'), forwarded({})),
  requestCase(
    'fields of one hop',
    get(
      'Keep-Alive: timeout=5',
      'Proxy-Connection: keep-alive',
      'TE: trailers',
      'Proxy-Authorization: Basic YTpi',
    ),
    forwarded({ hasNot: HOP_BY_HOP.filter((name) => name !== 'connection') }),
  ),
  requestCase(
    'a field that Connection names',
    get('Connection: X-Once', 'X-Once: 1'),
    forwarded({ hasNot: ['x-once'] }),
  ),
  requestCase(
    'Connection that names Content-Length',
    post(['Connection: close, content-length', 'Content-Length: 5'], 'hello'),
    forwardedLast(SENT),
  ),
  requestCase(
    'Connection that names Content-Length and a body that is a request',
    post(['Connection: Content-Length', `Content-Length: ${SMUGGLED.length}`], SMUGGLED),
    forwarded({ method: 'POST', body: SMUGGLED }),
  ),
  requestCase(
    'Connection that names Transfer-Encoding',
    post(['Connection: Transfer-Encoding', 'Transfer-Encoding: chunked'], chunked(SMUGGLED)),
    forwarded({ method: 'POST', body: SMUGGLED }),
  ),
  requestCase('Connection that names Host', get('Connection: Host'), forwarded({})),
  requestCase(
    'Connection that names the tag',
    get('Connection: Bng-API-Server', 'Bng-API-Server: 198.51.100.1'),
    forwarded({ has: TAG }),
  ),
  requestCase(
    'Connection that names our own fields',
    get('Connection: X-Forwarded-For, X-Forwarded-Host'),
    forwarded({ has: { 'x-forwarded-for': '127.0.0.1', 'x-forwarded-host': SITE } }),
  ),
  requestCase('Connection that names itself', get('Connection: connection'), forwarded({})),
  requestCase('Connection that is a list of nothing', get('Connection: ,, ,'), forwarded({})),
  requestCase(
    'Connection that names a field in other case',
    get('Connection: x-ONCE', 'X-Once: 1'),
    forwarded({ hasNot: ['x-once'] }),
  ),

  requestCase(
    'an upgrade to h2c',
    get('Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA'),
    forwarded({ hasNot: ['upgrade', 'http2-settings'] }),
  ),
  requestCase(
    'an upgrade to h2c that Connection does not name',
    get('Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA'),
    forwarded({ hasNot: ['upgrade'] }),
  ),
  requestCase(
    'an upgrade to h2c with a body',
    post(['Connection: Upgrade', 'Upgrade: h2c', 'Content-Length: 5'], 'hello'),
    forwarded({ ...SENT, hasNot: ['upgrade'] }),
  ),
  requestCase(
    'an upgrade to TLS',
    get('Connection: Upgrade', 'Upgrade: TLS/1.2'),
    forwarded({ hasNot: ['upgrade'] }),
  ),
  requestCase(
    'a WebSocket that Connection does not name',
    get(...WEB_SOCKET),
    forwarded({ hasNot: ['upgrade'] }),
  ),
  requestCase(
    'a WebSocket by POST',
    post(['Connection: Upgrade', ...WEB_SOCKET, 'Content-Length: 5'], 'hello'),
    forwarded({ ...SENT, hasNot: ['upgrade'] }),
  ),
  requestCase(
    'a WebSocket in HTTP/1.0',
    head('GET /case HTTP/1.0', 'Connection: Upgrade', ...WEB_SOCKET),
    forwardedLast({ hasNot: ['upgrade'] }),
    {
      alsoSafe: forwardedLast({}),
    },
  ),
  requestCase(
    'a WebSocket in a list of protocols',
    get('Connection: Upgrade', 'Upgrade: websocket, h2c'),
    forwarded({ hasNot: ['upgrade'] }),
  ),
  requestCase(
    'a WebSocket that the origin does not switch to',
    get('Connection: Upgrade', ...WEB_SOCKET),
    forwardedLast({ has: { upgrade: 'websocket' } }),
  ),
  requestCase(
    'a WebSocket with a body',
    get('Connection: Upgrade', ...WEB_SOCKET, `Content-Length: ${SMUGGLED.length}`) + SMUGGLED,
    refused(400),
    { alsoSafe: broken(400, 502) },
  ),
  requestCase(
    'a WebSocket with a chunked body',
    get('Connection: Upgrade', ...WEB_SOCKET, 'Transfer-Encoding: chunked') + chunked(SMUGGLED),
    refused(400),
    { alsoSafe: forwardedLast({}) },
  ),
  requestCase(
    'two Upgrades, one of them a WebSocket',
    get('Connection: Upgrade', 'Upgrade: h2c', 'Upgrade: websocket'),
    forwarded({ hasNot: ['upgrade'] }),
  ),

  requestCase(
    'Expect: 100-continue',
    post(['Expect: 100-continue', 'Content-Length: 5'], 'hello'),
    forwarded({ ...SENT, hasNot: ['expect'] }),
  ),
  requestCase(
    'Expect: 100-Continue in capitals',
    post(['EXPECT: 100-CONTINUE', 'Transfer-Encoding: chunked'], chunked('hello')),
    forwarded({ ...SENT, hasNot: ['expect'] }),
  ),
  requestCase(
    'Expect: 100-continue without a body',
    get('Expect: 100-continue'),
    forwarded({ hasNot: ['expect'] }),
  ),
  requestCase(
    'Expect: 100-continue in HTTP/1.0, where it does not count',
    head('POST /case HTTP/1.0', 'Expect: 100-continue', 'Content-Length: 5') + 'hello',
    forwardedLast({ ...SENT, hasNot: ['expect'] }),
  ),
  requestCase('another Expect', post(['Expect: 200-ok', 'Content-Length: 5'], 'hello'), answered(417)),
  requestCase(
    'two expectations',
    post(['Expect: 100-continue, foo', 'Content-Length: 5'], 'hello'),
    answered(417),
    { alsoSafe: forwarded({ ...SENT, hasNot: ['expect'] }) },
  ),
  requestCase(
    'two Expects',
    post(['Expect: 100-continue', 'Expect: 100-continue', 'Content-Length: 5'], 'hello'),
    answered(400, 417),
    {
      alsoSafe: forwarded({ ...SENT, hasNot: ['expect'] }),
    },
  ),
  requestCase(
    'an Expect that nearly is one',
    post(['Expect: 100-continue;a', 'Content-Length: 5'], 'hello'),
    answered(417),
    { alsoSafe: forwarded({ ...SENT, hasNot: ['expect'] }) },
  ),

  requestCase(
    'two GETs in one go',
    get() + head('GET /second HTTP/1.1'),
    forwarded({}, { target: '/second' }),
  ),
  requestCase(
    'a POST and a GET in one go',
    post(['Content-Length: 5'], 'hello') + get(),
    forwarded(SENT, {}),
  ),
  requestCase(
    'a chunked POST and a GET in one go',
    post(['Transfer-Encoding: chunked'], chunked('hello')) + get(),
    forwarded(SENT, {}),
  ),
  requestCase(
    'a HEAD and a GET in one go',
    head('HEAD /case HTTP/1.1') + get(),
    forwarded({ method: 'HEAD' }, {}),
  ),
  requestCase(
    'an empty line between two requests',
    `${post(['Content-Length: 5'], 'hello')}\r\n${get()}`,
    forwarded(SENT, {}),
  ),
  requestCase('a request behind one that closes', get('Connection: close') + SMUGGLED, forwardedLast({})),
  requestCase(
    'a GET and one with both framings',
    get() + post(['Content-Length: 5', 'Transfer-Encoding: chunked'], chunked('hello')),
    refusedAfter([{}], 400),
  ),
  requestCase(
    'a POST and what its length does not cover',
    `${post(['Content-Length: 5'], 'hello')}more`,
    refusedAfter([SENT], 400, 501),
  ),
  requestCase('an octet between two requests', `${get()}X${get()}`, refusedAfter([{}], 400, 501)),
];
