import {
  forwarded,
  forwardedLast,
  get,
  head,
  post,
  type RequestCase,
  refused,
  refusedOrSilent,
  requestCase,
  SITE,
} from './request-case.ts';

const FORGED = '198.51.100.1';

/** Fields that only a gateway may write, in the spellings that some server takes for them. */
const RESERVED = [
  'Bng-API-Server',
  'bng-api-server',
  'Bng-Api-URL',
  'BNG-API-URL',
  'Bng-assigned-Server',
  'Bng-API-Digest',
  'Bng-Anything',
  'Bng_API_Server',
  'bng_api_url',
  'Signature',
  'SIGNATURE',
  'Signature-Input',
  'Signature_Input',
  'signature-input',
  'Orilla-Served-By',
  'orilla_served_by',
] as const;

/** Fields that the gateway itself writes or uses, as CGI would spell them. */
const UNDERSCORED = [
  'X_Forwarded_For',
  'x_forwarded_host',
  'X_Forwarded_Proto',
  'Proxy_Authorization',
  'Keep_Alive',
];

const CLAIMS = ['X-Forwarded-For', 'X-Forwarded-Host', 'X-Forwarded-Proto', 'Forwarded'];

const BAD_NAMES: Readonly<Record<string, string>> = {
  'no name': ': y',
  'only a space as a name': ' : y',
  'a space before its colon': 'X : y',
  'a tab before its colon': 'X\t: y',
  'a space in its name': 'X Y: z',
  'a NUL in its name': 'X\0Y: z',
  'a DEL in its name': 'X\x7f: y',
  'a control character in its name': 'X\x01: y',
  'a name outside ASCII': 'X\xe9: y',
  'a no-break space in its name': 'X\xa0: y',
  'a slash in its name': 'X/Y: z',
  'a parenthesis in its name': 'X(): y',
  'a bracket in its name': '[X]: y',
  'an at sign in its name': 'X@Y: z',
  'quotes in its name': '"X": y',
  'a backslash in its name': 'X\\Y: z',
  'no colon': 'X',
  'an equals sign instead of a colon': 'X=y',
};

const BAD_VALUES: Readonly<Record<string, string>> = {
  'a NUL': 'a\0b',
  'a NUL at its end': 'a\0',
  'a bare CR': 'a\rb',
  'a bare CR at its end': 'a\r',
  'a bare LF': 'a\nb',
  'a DEL': 'a\x7fb',
  'a vertical tab': 'a\x0bb',
  'a form feed': 'a\x0cb',
  'a backspace': 'a\bb',
  'an escape': 'a\x1bb',
  'a unit separator': 'a\x1fb',
};

/** Field lines (RFC 9112 §5): `token ":" OWS value OWS CRLF`, never folded, and what is passed on of them. */
export const FIELD_CASES: readonly RequestCase[] = [
  requestCase(
    'fields of any case and order',
    get('aCCept: text/html', 'X-Twice: 1', 'Cookie: a=1'),
    forwarded({ has: { accept: 'text/html', cookie: 'a=1' } }),
  ),
  requestCase('a field without a value', get('X-Empty:'), forwarded({ has: { 'x-empty': '' } })),
  requestCase(
    'white space around a value',
    get('X-Trim: \t a b \t '),
    forwarded({ has: { 'x-trim': 'a b' } }),
  ),
  requestCase('a colon in a value', get('X-Colon: a: b'), forwarded({ has: { 'x-colon': 'a: b' } })),
  requestCase(
    'a value in UTF-8, whose octets stay as they are',
    get('X-Name: caf\xc3\xa9'),
    forwarded({ has: { 'x-name': 'caf\xc3\xa9' } }),
  ),
  requestCase('a value with a tab', get('X-Tab: a\tb'), forwarded({ has: { 'x-tab': 'a\tb' } })),
  requestCase(
    'every character that a name may have',
    get("!#$%&'*+-.^_`|~09azAZ: y"),
    forwarded({ has: { "!#$%&'*+-.^_`|~09azaz": 'y' } }),
  ),
  requestCase(
    'an underscore in a name that says nothing to us',
    get('X_Own: y'),
    forwarded({ has: { x_own: 'y' } }),
  ),
  ...Object.entries(BAD_NAMES).map(([what, line]) =>
    requestCase(`a field with ${what}`, get(line), refused(400)),
  ),
  ...Object.entries(BAD_VALUES).map(([what, value]) =>
    requestCase(`a value with ${what}`, get(`X: ${value}`), refused(400)),
  ),
  requestCase(
    'a bad field before a good one',
    `GET /case HTTP/1.1\r\nX : y\r\nHost: ${SITE}\r\n\r\n`,
    refused(400),
  ),
  requestCase('a folded value', get('X: a', ' b'), refused(400)),
  requestCase('a value folded with a tab', get('X: a', '\tb'), refused(400)),
  requestCase('a value folded on an empty line', get('X: a', ' '), refused(400)),
  requestCase('a first line that is folded', `GET /case HTTP/1.1\r\n Host: ${SITE}\r\n\r\n`, refused(400)),
  requestCase('a last line that is folded', `GET /case HTTP/1.1\r\nHost: ${SITE}\r\n \r\n\r\n`, refused(400)),
  requestCase('a head that ends with bare LFs', `GET /case HTTP/1.1\r\nHost: ${SITE}\n\n`, refused(400)),
  requestCase('a head that ends with a bare LF', `GET /case HTTP/1.1\r\nHost: ${SITE}\r\n\n`, refused(400)),
  requestCase('a head that ends with a bare CR', `GET /case HTTP/1.1\r\nHost: ${SITE}\r\n\rX`, refused(400)),
  requestCase('a head only of bare LFs', `GET /case HTTP/1.1\nHost: ${SITE}\n\n`, refused(400)),
  requestCase('a head only of bare CRs', `GET /case HTTP/1.1\rHost: ${SITE}\r\r`, refused(400)),
  requestCase('two CRs at the end of a line', `GET /case HTTP/1.1\r\nHost: ${SITE}\r\r\n\r\n`, refused(400)),
  requestCase('a LF before the CR', `GET /case HTTP/1.1\n\rHost: ${SITE}\r\n\r\n`, refused(400)),

  requestCase(
    'a head of 100 fields',
    get(...Array.from({ length: 99 }, (_, i) => `X-${i}: y`)),
    forwarded({ has: { 'x-98': 'y' } }),
  ),
  requestCase(
    'a head of 1,000 fields',
    get(...Array.from({ length: 999 }, () => 'X: y')),
    refusedOrSilent(400, 431),
    { alsoSafe: forwarded({}) },
  ),
  requestCase('a head of 12 KiB', get(`X: ${'a'.repeat(12 * 1024)}`), forwarded({})),
  requestCase('a value of 20,000 octets', get(`X: ${'a'.repeat(20_000)}`), refusedOrSilent(431)),
  requestCase('a name of 20,000 octets', get(`${'X'.repeat(20_000)}: a`), refusedOrSilent(431)),
  requestCase(
    'many fields that are too large together',
    get(...Array.from({ length: 40 }, (_, i) => `X-${i}: ${'a'.repeat(1000)}`)),
    refusedOrSilent(431),
  ),
  requestCase(
    'a head without end',
    `GET /case HTTP/1.1\r\nHost: ${SITE}\r\n${'X: y\r\n'.repeat(100_000)}`,
    refusedOrSilent(431),
  ),
  requestCase(
    'a line without end',
    `GET /case HTTP/1.1\r\nHost: ${SITE}\r\nX: ${'y'.repeat(500_000)}`,
    refusedOrSilent(431),
  ),
  requestCase(
    'white space without end',
    `GET /case HTTP/1.1\r\nHost: ${SITE}\r\nX:${' '.repeat(500_000)}`,
    refusedOrSilent(431),
    // What follows is then the value of this field.
    { alsoSafe: forwardedLast({}) },
  ),
  requestCase('a head that is cut', `GET /case HTTP/1.1\r\nHost: ${SITE}\r\nX: y`, refusedOrSilent(400), {
    isCut: true,
  }),
  requestCase(
    'a head without its empty line',
    `GET /case HTTP/1.1\r\nHost: ${SITE}\r\n`,
    refusedOrSilent(400),
    { isCut: true },
  ),

  ...RESERVED.map((name) =>
    requestCase(
      `a forged ${name}, which is dropped`,
      get(`${name}: ${FORGED}`),
      forwarded({ hasNotValue: [FORGED] }),
    ),
  ),
  ...CLAIMS.map((name) =>
    requestCase(
      `a client’s own ${name}, which is not believed`,
      get(`${name}: ${FORGED}`),
      forwarded({ hasNotValue: [FORGED] }),
    ),
  ),
  ...UNDERSCORED.map((name) =>
    requestCase(
      `${name}, which CGI cannot tell from ours`,
      get(`${name}: ${FORGED}`),
      forwarded({ hasNotValue: [FORGED] }),
      { alsoSafe: forwarded({}) },
    ),
  ),
  requestCase(
    'a forged tag in a request with a body',
    post([`Bng-API-Server: ${FORGED}`, 'Content-Length: 5'], 'hello'),
    forwarded({ method: 'POST', body: 'hello', hasNotValue: [FORGED] }),
  ),
  requestCase(
    'a forged tag in HTTP/1.0',
    head('GET /case HTTP/1.0', 'Connection: keep-alive', `Bng-API-Server: ${FORGED}`),
    forwarded({ hasNotValue: [FORGED] }),
  ),
];
