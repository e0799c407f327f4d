import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ChunkedReader } from './chunked-body.ts';
import { CHUNKED, UNTIL_CLOSE } from './message-length.ts';
import { parseRequestHead } from './request-head.ts';
import { parseResponseHead } from './response-head.ts';

const octets = (text: string): Buffer => Buffer.from(text, 'latin1');

const anyOctets = fc
  .uint8Array({ minLength: 1, maxLength: 40 })
  .map((data) => Buffer.from(data).toString('latin1'));

describe('the head of a request', () => {
  const HEAD = 'GET /a?b HTTP/1.1\r\nHost: photos.example\r\nCookie: a=1\r\nX-Long:  two  words \r\n\r\n';

  it('is taken apart, and the fields that are passed on stay as they came', () => {
    expect(parseRequestHead(octets(`${HEAD}body`))).toEqual({
      kind: 'request',
      method: 'GET',
      target: '/a?b',
      isHttp10: false,
      host: 'photos.example',
      kept: 'Cookie: a=1\r\nX-Long:  two  words \r\n',
      bodyLength: 0,
      keepsConnection: true,
      expectsContinue: false,
      isWebSocket: false,
      end: HEAD.length,
    });
  });

  it('is awaited at every octet, and is the same wherever the network cuts it', () => {
    for (let cut = 0; cut < HEAD.length; cut += 1) {
      expect(parseRequestHead(octets(HEAD.slice(0, cut))), `${cut}`).toBeUndefined();
    }
  });

  it.for([
    ['Connection: close', { keepsConnection: false }],
    ['Connection: Keep-Alive, X-Hop\r\nX-Hop: 1', { keepsConnection: true, kept: '' }],
    ['Content-Length: 12', { bodyLength: 12 }],
    ['Transfer-Encoding: Chunked', { bodyLength: CHUNKED }],
    ['Content-Length: 1\r\nExpect: 100-Continue', { expectsContinue: true }],
    ['Connection: Upgrade\r\nUpgrade: WebSocket', { isWebSocket: true }],
    ['Upgrade: websocket', { isWebSocket: false, kept: '' }],
    ['Content_Length: 5\r\nX_Forwarded_For: ::1\r\nBng_Api_Url: x\r\napi_key: k', { kept: 'api_key: k\r\n' }],
    ['Signature: x\r\nSignature-Input: y\r\nSignatures: z', { kept: 'Signatures: z\r\n' }],
  ] as const)('says what is to be done with %s', ([lines, expected]) => {
    const head = parseRequestHead(octets(`GET / HTTP/1.1\r\nHost: a\r\n${lines}\r\n\r\n`));
    expect(head).toMatchObject({ kind: 'request', ...expected });
  });

  it('keeps what only a gateway may write from its origin, in whatever spelling', () => {
    const of = (name: string) => parseRequestHead(octets(`GET / HTTP/1.1\r\nHost: a\r\n${name}: x\r\n\r\n`));
    for (const name of [
      ...['Bng-API-Server', 'BNG_API_URL', 'bng-x', 'Signature', 'signature-input', 'Signature_Input'],
      ...['Orilla-Served-By', 'X-Forwarded-For', 'x_forwarded_proto', 'Forwarded'],
    ]) {
      expect(of(name), name).toMatchObject({ kept: '' });
    }
    for (const name of ['Accept', 'X-Signature', 'Signatures', 'Bngx', 'X-Forwarded']) {
      expect(of(name), name).toMatchObject({ kept: `${name}: x\r\n` });
    }
  });

  it('is bounded in length and in the number of its fields', () => {
    const fields = (count: number) =>
      Array.from({ length: count }, (_, index) => `X${index}: 1\r\n`).join('');
    const of = (text: string) => parseRequestHead(octets(`GET / HTTP/1.1\r\nHost: a\r\n${text}`));
    expect(of(`${fields(99)}\r\n`)).toMatchObject({ kind: 'request' });
    expect(of(fields(101))).toMatchObject({ kind: 'refusal', status: 431 });
    expect(of(`X: ${'x'.repeat(16 * 1024)}`)).toMatchObject({ kind: 'refusal', status: 431 });
    expect(parseRequestHead(octets(`GET /${'x'.repeat(9000)}`))).toMatchObject({ status: 414 });
  });

  it('that is made of any octets is a head, a refusal or not whole yet, and never anything else', () => {
    const pieces = fc.oneof(
      fc.constantFrom(
        'GET ',
        'POST ',
        '/a',
        ' HTTP/1.1',
        ' HTTP/1.0',
        '\r\n',
        '\r',
        '\n',
        ': ',
        'Host: a',
        '\t',
      ),
      fc.constantFrom('Content-Length: 1', 'Transfer-Encoding: chunked', 'Connection: close', '\0', '\x80'),
      anyOctets,
    );
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 30 }), (parts) => {
        const text = octets(parts.join(''));
        const whole = parseRequestHead(text);
        if (whole?.kind !== 'request') return;
        // What was taken as whole has an empty line at its end and no line end that another server could see elsewhere.
        const head = text.toString('latin1', 0, whole.end);
        expect(head.endsWith('\r\n\r\n')).toBe(true);
        expect(head.replaceAll('\r\n', '')).not.toMatch(/[\r\n\0]/);
        expect(parseRequestHead(text.subarray(0, whole.end))).toEqual(whole);
      }),
      { numRuns: 3000 },
    );
  });
});

describe('the head of an answer', () => {
  const of = (text: string, method = 'GET') => parseResponseHead(octets(text), method);

  it('says how long the body is, and whether there is one', () => {
    expect(of('HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\n')).toMatchObject({
      status: 200,
      reason: 'OK',
      kept: 'X: y\r\n',
      bodyLength: 5,
      hasBody: true,
      keepsConnection: true,
    });
    expect(of('HTTP/1.1 200 OK\r\n\r\n')).toMatchObject({ bodyLength: UNTIL_CLOSE, keepsConnection: false });
    expect(of('HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n')).toMatchObject({ bodyLength: CHUNKED });
    expect(of('HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n')).toMatchObject({ keepsConnection: false });
    for (const [text, method] of [
      ['HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n', 'HEAD'],
      ['HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n', 'GET'],
      ['HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n', 'GET'],
    ] as const) {
      expect(of(text, method)).toMatchObject({ hasBody: false, keepsConnection: true });
    }
  });

  it('that is none is told apart from one that is not whole yet', () => {
    for (const text of ['HTTP/1.1 20', 'HTTP/1.1 200 O', 'HTTP/1.1 200 OK\r\nX: ']) {
      expect(of(text), text).toBeUndefined();
    }
    for (const text of [
      'SSH-2.0-OpenSSH',
      'HTTP/2.0 200 OK\r\n\r\n',
      'HTTP/1.1 099 No\r\n\r\n',
      'HTTP/1.1 600 No\r\n\r\n',
      'HTTP/1.1 2x0 No\r\n\r\n',
      'HTTP/1.1 200 OK\nX: y\r\n\r\n',
      'HTTP/1.1 200 OK\r\nX y\r\n\r\n',
      'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n',
      `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(70_000)}`,
    ]) {
      expect(of(text), text.slice(0, 50)).toBeTypeOf('string');
    }
  });
});

describe('a chunked body', () => {
  const BODY = '5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\nHost: evil\r\n\r\n';

  function read(pieces: readonly Buffer[]) {
    const reader = new ChunkedReader();
    let text = '';
    let taken = 0;
    for (const piece of pieces) {
      const count = reader.read(piece, { onData: (data) => (text += data.toString('latin1')) });
      if (count < 0) return 'refused';
      taken += count;
      if (reader.isOver) break;
    }
    return { text, taken, isOver: reader.isOver, trailers: reader.trailers };
  }

  it('is the same at every cut, and ends where it ends', () => {
    const all = octets(`${BODY}GET /next`);
    const whole = { text: 'hello world', taken: BODY.length, isOver: true, trailers: 'X-Sum: 1\r\n' };
    for (let cut = 0; cut <= all.length; cut += 1) {
      expect(read([all.subarray(0, cut), all.subarray(cut)]), `${cut}`).toEqual(whole);
    }
    expect(read(Array.from(all, (octet) => Buffer.from([octet])))).toEqual(whole);
  });

  it('gives back what was put into it, whatever its chunks', () => {
    fc.assert(
      fc.property(fc.array(anyOctets, { maxLength: 8 }), fc.integer({ min: 1, max: 50 }), (chunks, step) => {
        const body = chunks.map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`).join('');
        const all = octets(`${body}0\r\n\r\n`);
        const pieces: Buffer[] = [];
        for (let at = 0; at < all.length; at += step) pieces.push(all.subarray(at, at + step));
        expect(read(pieces)).toMatchObject({ text: chunks.join(''), isOver: true });
      }),
    );
  });

  it.for([
    ['an empty size', '\r\n'],
    ['a sign', '+5\r\nhello\r\n'],
    ['0x', '0x5\r\nhello\r\n'],
    ['a space before the end', '5 \r\nhello\r\n'],
    ['more digits than a number has', '00000000000005\r\nhello\r\n'],
    ['a bare LF', '5\nhello\r\n'],
    ['a chunk that is longer than it says', '4\r\nhello\r\n'],
    ['a CR in an extension', '5;a\rb\r\nhello\r\n'],
    ['an endless extension', `5;${'a'.repeat(5000)}`],
    ['a length in the trailers', '0\r\nContent-Length: 5\r\n\r\n'],
    ['endless trailers', `0\r\n${'X: y\r\n'.repeat(2000)}`],
  ] as const)('is refused with %s', ([, text]) => {
    expect(read([octets(text)])).toBe('refused');
  });
});
