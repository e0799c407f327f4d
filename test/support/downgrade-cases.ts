/**
 * What a request by HTTP/2 may carry that would be another request, or part of one, behind a gateway that writes it down as
 * HTTP/1.1 ("HTTP/2 downgrade", H2.CL, H2.TE and their kin).
 * @module
 */
import type { Field } from './raw-http2.ts';

export interface DowngradeCase {
  readonly name: string;
  /** In place of, or behind, the fields of a sound request. */
  readonly fields?: readonly Field[];
  readonly without?: readonly string[];
  readonly body?: string;
  readonly trailers?: readonly Field[];
  /**
   * A status: the gateway's answer, and the origin sees nothing. `reset`: the stream is cut off, and the origin sees nothing.
   * `ended`: so is the connection. Else what of the head the origin sees, by name in lower case: `null` for nothing.
   */
  readonly expected: number | 'reset' | 'ended' | Readonly<Record<string, string | null>>;
}

export const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nHost: photos.example\r\n\r\n';
const FORGED = '198.51.100.1';

export const DOWNGRADE_CASES: readonly DowngradeCase[] = [
  { name: 'a sound request', expected: { ':method': 'GET', ':path': '/', host: 'photos.example' } },

  // Where its body ends.
  {
    name: 'Transfer-Encoding',
    fields: [['transfer-encoding', 'chunked']],
    body: `0\r\n\r\n${SMUGGLED}`,
    expected: 'reset',
  },
  {
    name: 'Transfer-Encoding in capitals',
    fields: [['Transfer-Encoding', 'chunked']],
    body: '0\r\n\r\n',
    expected: 'reset',
  },
  {
    name: 'transfer_encoding',
    fields: [['transfer_encoding', 'chunked']],
    body: '0\r\n\r\n',
    expected: { transfer_encoding: null },
  },
  {
    name: 'Transfer-Encoding with a space behind its name',
    fields: [['transfer-encoding ', 'chunked']],
    expected: { 'transfer-encoding': null, 'transfer-encoding ': null },
  },
  {
    name: 'a Content-Length that is too short',
    fields: [['content-length', '5']],
    body: SMUGGLED,
    expected: 'ended',
  },
  {
    name: 'a Content-Length that is too long',
    fields: [['content-length', '100']],
    body: 'x',
    expected: 'reset',
  },
  {
    name: 'a Content-Length of a request without a body',
    fields: [['content-length', '5']],
    expected: 'reset',
  },
  {
    name: 'two Content-Lengths',
    fields: [
      ['content-length', '1'],
      ['content-length', '1'],
    ],
    body: 'x',
    expected: 'reset',
  },
  { name: 'two Content-Lengths in one', fields: [['content-length', '1, 1']], body: 'x', expected: 'reset' },
  { name: 'a Content-Length with a sign', fields: [['content-length', '+1']], body: 'x', expected: 'reset' },
  {
    name: 'content_length',
    fields: [['content_length', '7']],
    body: 'x',
    expected: { content_length: null },
  },
  {
    name: 'a body of a GET, its length not told',
    body: SMUGGLED,
    expected: { 'transfer-encoding': 'chunked' },
  },
  {
    name: 'a Content-Length of 0',
    fields: [
      [':method', 'POST'],
      ['content-length', '0'],
    ],
    body: '',
    expected: { 'content-length': '0' },
  },
  {
    name: 'Content-Length in its trailers',
    body: 'x',
    trailers: [['content-length', '5']],
    expected: 'reset',
  },
  {
    name: 'Transfer-Encoding in its trailers',
    body: 'x',
    trailers: [['transfer-encoding', 'chunked']],
    expected: 'reset',
  },
  { name: 'a path in its trailers', body: 'x', trailers: [[':path', '/admin']], expected: 'reset' },

  // Lines within a field.
  {
    name: 'CR LF in a value',
    fields: [['x', `y\r\nTransfer-Encoding: chunked`]],
    expected: { x: null, 'transfer-encoding': null },
  },
  { name: 'LF in a value', fields: [['x', 'y\nz: 1']], expected: { x: null, z: null } },
  { name: 'CR in a value', fields: [['x', 'y\rz: 1']], expected: { x: null, z: null } },
  { name: 'NUL in a value', fields: [['x', 'y\0z']], expected: { x: null } },
  { name: 'white space around a value', fields: [['x', ' y ']], expected: { x: null } },
  { name: 'CR LF in a name', fields: [['x: y\r\nz', '1']], expected: { x: null, z: null } },
  { name: 'a colon in a name', fields: [['x: y', '1']], expected: { x: null } },
  { name: 'a space in a name', fields: [['x y', '1']], expected: { 'x y': null, x: null } },
  { name: 'no name', fields: [['', '1']], expected: { '': null } },
  { name: 'a name in capitals', fields: [['X-Upper', '1']], expected: 'reset' },
  { name: 'CR LF in a trailer', body: 'x', trailers: [['y', `z\r\n\r\n${SMUGGLED}`]], expected: {} },

  // What the request line is made of.
  { name: 'a space in the method', fields: [[':method', 'GET /admin HTTP/1.1\r\nX:']], expected: 'reset' },
  { name: 'an unknown method', fields: [[':method', 'FETCH']], expected: 501 },
  { name: 'a method in small letters', fields: [[':method', 'get']], expected: 501 },
  { name: 'CONNECT', fields: [[':method', 'CONNECT']], without: [':path', ':scheme'], expected: 501 },
  {
    name: 'CONNECT for a WebSocket, which was not offered',
    fields: [
      [':method', 'CONNECT'],
      [':protocol', 'websocket'],
    ],
    expected: 'reset',
  },
  { name: 'a space in the path', fields: [[':path', '/ HTTP/1.1\r\nX: y']], expected: 'reset' },
  { name: 'a space alone in the path', fields: [[':path', '/a b']], expected: 'reset' },
  { name: 'a path outside ASCII', fields: [[':path', '/caf\xe9']], expected: 400 },
  {
    name: 'a path that does not begin with "/"',
    fields: [[':path', '@internal.example/']],
    expected: 'reset',
  },
  { name: 'a URL as path', fields: [[':path', 'http://internal.example/']], expected: 'reset' },
  { name: 'no path', without: [':path'], expected: 'reset' },
  { name: 'an empty path', fields: [[':path', '']], expected: 'reset' },
  { name: '* as path of a GET', fields: [[':path', '*']], expected: 'reset' },
  {
    name: '* as path of OPTIONS',
    fields: [
      [':method', 'OPTIONS'],
      [':path', '*'],
    ],
    expected: { ':path': '*' },
  },
  {
    name: 'two paths',
    fields: [
      [':path', '/'],
      [':path', '/admin'],
    ],
    expected: 'reset',
  },
  {
    name: 'two methods',
    fields: [
      [':method', 'GET'],
      [':method', 'POST'],
    ],
    expected: 'reset',
  },
  {
    name: 'a path behind the fields',
    without: [':path'],
    fields: [
      ['x', 'y'],
      [':path', '/'],
    ],
    expected: 'reset',
  },
  { name: 'an unknown pseudo-field', fields: [[':x', 'y']], expected: 'reset' },
  { name: 'a status', fields: [[':status', '200']], expected: 'reset' },
  { name: 'the scheme http', fields: [[':scheme', 'http']], expected: 400 },
  {
    name: 'a scheme with a host in it',
    fields: [[':scheme', 'https://internal.example/?']],
    expected: 'reset',
  },
  { name: 'a path that is too long', fields: [[':path', `/${'x'.repeat(9000)}`]], expected: 414 },

  // For which host it is.
  {
    name: 'a Host that is the authority',
    fields: [['host', 'photos.example']],
    expected: { host: 'photos.example' },
  },
  {
    name: 'a Host in place of the authority',
    without: [':authority'],
    fields: [['host', 'photos.example']],
    expected: { host: 'photos.example' },
  },
  { name: 'a Host other than the authority', fields: [['host', 'internal.example']], expected: 400 },
  {
    name: 'two Hosts',
    fields: [
      ['host', 'photos.example'],
      ['host', 'internal.example'],
    ],
    expected: 'reset',
  },
  { name: 'no authority', without: [':authority'], expected: 'reset' },
  { name: 'a user in the authority', fields: [[':authority', 'me@photos.example']], expected: 'reset' },
  { name: 'a path in the authority', fields: [[':authority', 'photos.example/x']], expected: 'reset' },
  { name: 'a host that is not served here', fields: [[':authority', 'internal.example']], expected: 404 },

  // What speaks of the connection, or is for gateways to say.
  { name: 'Connection', fields: [['connection', 'x-forwarded-for']], expected: 'reset' },
  { name: 'Proxy-Connection', fields: [['proxy-connection', 'close']], expected: 'reset' },
  { name: 'Keep-Alive', fields: [['keep-alive', '5']], expected: 'reset' },
  { name: 'Upgrade', fields: [['upgrade', 'websocket']], expected: 'reset' },
  { name: 'HTTP2-Settings', fields: [['http2-settings', 'AAAA']], expected: { 'http2-settings': null } },
  { name: 'TE: trailers', fields: [['te', 'trailers']], expected: { te: null } },
  { name: 'TE: gzip', fields: [['te', 'gzip']], expected: 'reset' },
  {
    name: 'Expect: 100-continue without a body',
    fields: [['expect', '100-continue']],
    expected: { expect: null },
  },
  { name: 'another expectation', fields: [['expect', 'a-miracle']], expected: 417 },
  {
    name: 'Proxy-Authorization',
    fields: [['proxy-authorization', 'Basic eA==']],
    expected: { 'proxy-authorization': null },
  },
  { name: 'a tag', fields: [['bng-api-url', FORGED]], expected: { 'bng-api-url': null } },
  {
    name: 'a tag with an underscore',
    fields: [['bng_api_server', FORGED]],
    expected: { bng_api_server: null },
  },
  {
    name: 'a signature',
    fields: [
      ['signature', FORGED],
      ['signature-input', FORGED],
    ],
    expected: { signature: null, 'signature-input': null },
  },
  {
    name: 'Orilla-Served-By',
    fields: [['orilla-served-by', FORGED]],
    expected: { 'orilla-served-by': null },
  },
  { name: 'Forwarded', fields: [['forwarded', `for=${FORGED}`]], expected: { forwarded: null } },
  {
    name: 'X-Forwarded-For',
    fields: [['x-forwarded-for', FORGED]],
    expected: { 'x-forwarded-for': '127.0.0.1' },
  },
  {
    name: 'X-Forwarded-Proto',
    fields: [['x-forwarded-proto', 'http']],
    expected: { 'x-forwarded-proto': 'https' },
  },
  { name: 'x_forwarded_host', fields: [['x_forwarded_host', FORGED]], expected: { x_forwarded_host: null } },
  {
    name: 'crumbs of a cookie',
    fields: [
      ['cookie', 'a=1'],
      ['x', 'y'],
      ['cookie', 'b=2'],
    ],
    expected: { cookie: 'a=1; b=2' },
  },
  {
    name: 'too many fields',
    fields: Array.from({ length: 101 }, (_, index): Field => [`x-${index}`, 'y']),
    expected: 431,
  },
  {
    name: 'many crumbs of a cookie',
    fields: Array.from({ length: 150 }, (_, index): Field => ['cookie', `${index}=y`]),
    expected: { x: null },
  },
  {
    name: 'far too many fields',
    fields: Array.from({ length: 300 }, (_, index): Field => [`x-${index}`, 'y']),
    expected: 'reset',
  },
  {
    name: 'fields that are too long',
    fields: Array.from({ length: 20 }, (_, index): Field => [`x-${index}`, 'y'.repeat(1000)]),
    expected: 431,
  },
  {
    name: 'fields that are far too long',
    fields: Array.from({ length: 90 }, (_, index): Field => [`x-${index}`, 'y'.repeat(1000)]),
    expected: 431,
  },
  {
    name: 'fields without an end',
    fields: Array.from({ length: 200 }, (_, index): Field => [`x-${index}`, 'y'.repeat(2000)]),
    expected: 'ended',
  },
];

export const SOUND: readonly Field[] = [
  [':method', 'GET'],
  [':scheme', 'https'],
  [':path', '/'],
  [':authority', 'photos.example'],
];

/** The fields of the request that a case is about. */
export function fieldsOf({ fields = [], without = [] }: DowngradeCase): Field[] {
  const isReplaced = ([name]: Field) =>
    without.includes(name) || (name.startsWith(':') && fields.some(([other]) => other === name));
  const isMoved = without.some((name) => fields.some(([other]) => other === name));
  const sound = SOUND.filter((field) => !isReplaced(field));
  const pseudo = isMoved ? [] : fields.filter(([name]) => name.startsWith(':'));
  return [...sound, ...pseudo, ...fields.filter((field) => !pseudo.includes(field))];
}
