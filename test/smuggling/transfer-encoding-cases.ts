import {
  chunked,
  forwarded,
  forwardedLast,
  head,
  post,
  type RequestCase,
  refused,
  requestCase,
  SMUGGLED,
} from './request-case.ts';

const BODY = chunked('hello');
const SENT = { method: 'POST', body: 'hello' };
const coded = (value: string): string => post([`Transfer-Encoding: ${value}`], BODY);

/**
 * Each is put where `Transfer-Encoding: chunked` would stand, alone and beside a `Content-Length`. A tab is white space to
 * the RFC, but some servers take it for a part of the value: here it is refused.
 */
const DISGUISES: Readonly<Record<string, string>> = {
  'with a space before its colon': 'Transfer-Encoding : chunked',
  'with a tab before its colon': 'Transfer-Encoding\t: chunked',
  'with a tab before its value': 'Transfer-Encoding:\tchunked',
  'with a tab behind its value': 'Transfer-Encoding: chunked\t',
  'with a vertical tab before its colon': 'Transfer-Encoding\x0b: chunked',
  'with a vertical tab before its name': '\x0bTransfer-Encoding: chunked',
  'with a vertical tab before its value': 'Transfer-Encoding:\x0bchunked',
  'with a vertical tab behind its value': 'Transfer-Encoding: chunked\x0b',
  'with a form feed before its value': 'Transfer-Encoding:\x0cchunked',
  'with a NUL in its name': 'Transfer\0-Encoding: chunked',
  'with a NUL behind its name': 'Transfer-Encoding\0: chunked',
  'with a NUL behind its value': 'Transfer-Encoding: chunked\0',
  'with a no-break space before its value': 'Transfer-Encoding: \xa0chunked',
  'with a no-break space behind its value': 'Transfer-Encoding: chunked\xa0',
  'with a next-line character behind its value': 'Transfer-Encoding: chunked\x85',
  'with a DEL behind its value': 'Transfer-Encoding: chunked\x7f',
  'with a space before its name': ' Transfer-Encoding: chunked',
  'with a tab before its name': '\tTransfer-Encoding: chunked',
  'with a bare CR before its name': '\rTransfer-Encoding: chunked',
  'with a bare CR before its value': 'Transfer-Encoding:\rchunked',
  'with a bare CR behind its value': 'Transfer-Encoding: chunked\r',
  'with a bare LF before its value': 'Transfer-Encoding:\nchunked',
  'behind a bare CR in a value': 'X: y\rTransfer-Encoding: chunked',
  'behind a bare LF in a value': 'X: y\nTransfer-Encoding: chunked',
  'that is folded': 'Transfer-Encoding:\r\n chunked',
  'that is folded with a tab': 'Transfer-Encoding:\r\n\tchunked',
  'that is folded behind itself': 'Transfer-Encoding: chunked\r\n , identity',
  'behind a fold': 'X: y\r\n Transfer-Encoding: chunked',
  'without its colon': 'Transfer-Encoding chunked',
  'with an equals sign': 'Transfer-Encoding=chunked',
};

/** Values that are not the one word `chunked`. */
const CODINGS: Readonly<Record<string, string>> = {
  'chunked, identity': 'chunked, identity',
  'identity, chunked': 'identity, chunked',
  identity: 'identity',
  'identity without a space': 'identity,chunked',
  xchunked: 'xchunked',
  chunkedx: 'chunkedx',
  'chunk, which is cut': 'chunk',
  'chunked twice in a list': 'chunked, chunked',
  'chunked with a weight': 'chunked;q=1',
  'chunked with a parameter': 'chunked; foo=bar',
  'chunked in quotes': '"chunked"',
  'chunked in single quotes': "'chunked'",
  'chunked and an empty element': 'chunked,',
  'an empty element and chunked': ',chunked',
  'an empty element between': 'chunked,,identity',
  'two words': 'chunked chunked',
  'a space in the word': 'chun ked',
  'gzip, chunked': 'gzip, chunked',
  'chunked, gzip': 'chunked, gzip',
  gzip: 'gzip',
  'an unknown coding before chunked': 'foo, chunked',
  'a coding outside ASCII': 'chunk\xe9d',
  'a bracket': '[chunked]',
};

/** Chunked bodies and whatever pretends to be one (RFC 9112 §6.1): exactly one field with exactly `chunked`, in HTTP/1.1. */
export const TRANSFER_ENCODING_CASES: readonly RequestCase[] = [
  requestCase('a chunked body', coded('chunked'), forwarded(SENT)),
  requestCase('chunked in capitals', coded('CHUNKED'), forwarded(SENT)),
  requestCase('Transfer-Encoding in mixed case', post(['tRANSFER-eNCODING:cHuNkEd'], BODY), forwarded(SENT)),
  requestCase('chunked with spaces around it', coded('  chunked  '), forwarded(SENT)),
  requestCase(
    'a chunked body that holds a request',
    post(['Transfer-Encoding: chunked'], chunked(SMUGGLED)),
    forwarded({ method: 'POST', body: SMUGGLED }),
  ),
  requestCase(
    'a GET with a chunked body that holds a request',
    head('GET /case HTTP/1.1', 'Transfer-Encoding: chunked') + chunked(SMUGGLED),
    forwarded({ body: SMUGGLED }),
  ),
  requestCase(
    'an empty chunked body',
    post(['Transfer-Encoding: chunked'], '0\r\n\r\n'),
    forwarded({ method: 'POST' }),
  ),
  requestCase(
    'a GET with an empty chunked body',
    head('GET /case HTTP/1.1', 'Transfer-Encoding: chunked') + '0\r\n\r\n',
    forwarded({}),
  ),

  requestCase(
    'Content-Length and Transfer-Encoding',
    post(['Content-Length: 15', 'Transfer-Encoding: chunked'], BODY),
    refused(400),
  ),
  requestCase(
    'Transfer-Encoding and Content-Length',
    post(['Transfer-Encoding: chunked', 'Content-Length: 15'], BODY),
    refused(400),
  ),
  requestCase(
    'Transfer-Encoding and a Content-Length of nothing',
    post(['Transfer-Encoding: chunked', 'Content-Length: 0'], BODY),
    refused(400),
  ),
  requestCase(
    'Content-Length and Transfer-Encoding far apart',
    post(
      [
        'Content-Length: 4',
        ...Array.from({ length: 30 }, (_, i) => `X-${i}: y`),
        'Transfer-Encoding: chunked',
      ],
      `${BODY}${SMUGGLED}`,
    ),
    refused(400),
  ),
  requestCase(
    'Content-Length and Transfer-Encoding in lower case',
    post(['content-length:15', 'transfer-encoding:chunked'], BODY),
    refused(400),
  ),
  requestCase(
    'Content-Length and Transfer-Encoding in capitals',
    post(['CONTENT-LENGTH: 15', 'TRANSFER-ENCODING: CHUNKED'], BODY),
    refused(400),
  ),
  requestCase(
    'Content-Length and an identity coding',
    post(['Content-Length: 5', 'Transfer-Encoding: identity'], 'hello'),
    refused(400, 501),
  ),
  requestCase(
    'Content-Length and an empty Transfer-Encoding',
    post(['Content-Length: 5', 'Transfer-Encoding:'], 'hello'),
    refused(400, 501),
  ),
  requestCase(
    'Content-Length and an unknown coding',
    post(['Content-Length: 5', 'Transfer-Encoding: foo'], 'hello'),
    refused(400, 501),
  ),

  ...Object.entries(DISGUISES).map(([what, line]) =>
    requestCase(`a Transfer-Encoding ${what}`, post([line], BODY), refused(400, 501), {
      ...(what.includes('with a tab before its value') && { alsoSafe: forwarded(SENT) }),
    }),
  ),
  ...Object.entries(DISGUISES).map(([what, line]) =>
    requestCase(
      `a Content-Length and a Transfer-Encoding ${what}`,
      post(['Content-Length: 15', line], BODY),
      refused(400, 501),
    ),
  ),
  ...Object.entries(CODINGS).map(([what, value]) =>
    requestCase(`a Transfer-Encoding of ${what}`, coded(value), refused(400, 501), {
      ...(/, ?chunked$|^,chunked$/.test(value) && { alsoSafe: forwarded(SENT) }),
    }),
  ),
  requestCase('an empty Transfer-Encoding', post(['Transfer-Encoding:'], BODY), refused(400, 501)),
  requestCase(
    'two Transfer-Encodings',
    post(['Transfer-Encoding: chunked', 'Transfer-Encoding: identity'], BODY),
    refused(400, 501),
  ),
  requestCase(
    'two Transfer-Encodings, the second of which counts',
    post(['Transfer-Encoding: identity', 'Transfer-Encoding: chunked'], BODY),
    refused(400, 501),
    { alsoSafe: forwarded(SENT) },
  ),
  requestCase(
    'two equal Transfer-Encodings',
    post(['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'], BODY),
    refused(400, 501),
    { alsoSafe: forwarded(SENT) },
  ),
  requestCase(
    'a Transfer-Encoding and an empty one',
    post(['Transfer-Encoding: chunked', 'Transfer-Encoding:'], BODY),
    refused(400, 501),
  ),
  requestCase(
    'a Transfer-Encoding in HTTP/1.0',
    head('POST /case HTTP/1.0', 'Transfer-Encoding: chunked') + BODY,
    refused(400, 501),
    { alsoSafe: forwardedLast(SENT) },
  ),
  requestCase(
    'a Transfer-Encoding in HTTP/1.0 that wants to go on',
    head('POST /case HTTP/1.0', 'Connection: keep-alive', 'Transfer-Encoding: chunked') + BODY,
    refused(400, 501),
    { alsoSafe: forwarded(SENT) },
  ),
  requestCase(
    'Content-Length and Transfer-Encoding in HTTP/1.0',
    head('POST /case HTTP/1.0', 'Content-Length: 15', 'Transfer-Encoding: chunked') + BODY,
    refused(400, 501),
  ),
  requestCase(
    'Transfer_Encoding, which CGI reads as Transfer-Encoding',
    post(['Transfer_Encoding: chunked', 'Content-Length: 15'], BODY),
    forwarded({ method: 'POST', body: BODY, hasNot: ['transfer_encoding'] }),
    {
      alsoSafe: forwarded({ method: 'POST', body: BODY }),
    },
  ),
  requestCase(
    'Transfer_Encoding beside a chunked body',
    post(['Transfer_Encoding: identity', 'Transfer-Encoding: chunked'], BODY),
    forwarded({ ...SENT, hasNot: ['transfer_encoding'] }),
    {
      alsoSafe: forwarded(SENT),
    },
  ),
];
