import { once } from 'node:events';
import { request } from 'node:https';
import { connect as connectTcp } from 'node:net';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { acceptEcho } from '../../../../test/support/echo-web-socket.ts';
import { askHttp2, type HttpsSite, startHttpsSite } from '../../../../test/support/https-site.ts';
import { makeCertificate } from '../../../../test/support/made-certificate.ts';
import { answerTarget, RecordingOrigin } from '../../../../test/support/recording-origin.ts';
import { CertificateChooser, namesIn } from './certificate-chooser.ts';

let origin: RecordingOrigin;
let site: HttpsSite;
const sockets: TLSSocket[] = [];
beforeEach(async () => {
  origin = await RecordingOrigin.start();
  site = await startHttpsSite({ port: origin.port });
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await site[Symbol.asyncDispose]();
  await origin[Symbol.asyncDispose]();
});

async function handshake(options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connect({ host: '127.0.0.1', port: site.port, rejectUnauthorized: false, ...options });
  sockets.push(socket);
  await once(socket, 'secureConnect');
  socket.on('error', () => undefined);
  return socket;
}

/** The names in the certificate that a client is shown. */
async function shownTo(servername: string | undefined): Promise<string | undefined> {
  const socket = await handshake(servername === undefined ? {} : { servername });
  return socket.getPeerCertificate().subjectaltname;
}

/** Sends a request over TLS and collects what comes back until the other side closes. */
async function exchange(text: string): Promise<string> {
  const socket = await handshake({ servername: 'photos.example', ALPNProtocols: ['http/1.1'] });
  let received = '';
  socket.setEncoding('latin1').on('data', (more: string) => {
    received += more;
  });
  socket.write(text, 'latin1');
  await once(socket, 'close');
  return received;
}

describe('a client by HTTPS', () => {
  it('speaks HTTP/2 or HTTP/1.1, as it asks for, and HTTP/1.1 when it does not ask', async () => {
    const agreed = async (...ALPNProtocols: string[]) => (await handshake({ ALPNProtocols })).alpnProtocol;
    expect(await agreed('http/1.1', 'h2')).toBe('h2');
    expect(await agreed('http/1.1')).toBe('http/1.1');
    expect((await handshake()).alpnProtocol).toBe(false);
    await expect(handshake({ ALPNProtocols: ['spdy/3'] })).rejects.toThrow();
  });

  it('by HTTP/1.1 is forwarded with the tag, one request after the other [gateway G1] [gateway G3]', async () => {
    const get = 'GET /a HTTP/1.1\r\nHost: photos.example\r\n\r\n';
    const answer = await exchange(`${get}${get.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n')}`);
    expect(answer.match(/HTTP\/1\.1 200 OK/g)).toHaveLength(2);
    expect(origin.requests).toHaveLength(2);
    expect(origin.requests[0]?.fields).toContainEqual(['X-Forwarded-Proto', 'https']);
    expect(origin.requests[0]?.fields).toContainEqual(['Bng-API-Server', '192.0.2.1']);
  });

  it('sends and gets bodies of any size by HTTP/1.1', async () => {
    origin.answer = ({ body }, socket) => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`, 'latin1');
    };
    const body = 'abcdefghij'.repeat(300_000);
    const head = `POST / HTTP/1.1\r\nHost: photos.example\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n`;
    const answer = await exchange(head + body);
    expect(answer.endsWith(`\r\n\r\n${body}`)).toBe(true);
  });

  it('sees that an answer by HTTP/1.1 broke off', async () => {
    origin.answer = (_request, socket) => {
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nthe beginning');
    };
    const asked = request({
      host: '127.0.0.1',
      port: site.port,
      servername: 'photos.example',
      ca: site.certificate.certPem,
      headers: { host: 'photos.example' },
    });
    asked.end();
    const [answer] = await once(asked, 'response');
    await expect(once(answer.resume(), 'end')).rejects.toThrow();
  });

  it('may open a WebSocket', async () => {
    origin.greet = (socket) => {
      socket.removeAllListeners('data');
      socket.once('data', () =>
        acceptEcho('origin ')({ headers: { 'sec-websocket-key': 'x' } } as never, socket),
      );
    };
    const socket = await handshake({ servername: 'photos.example' });
    socket.write(
      'GET /chat HTTP/1.1\r\nHost: photos.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
        'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    );
    const [answer] = await once(socket, 'data');
    expect(String(answer)).toMatch(/^HTTP\/1\.1 101 /);
  });

  it.for([
    ['TLS 1.1', { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL@SECLEVEL=0' }],
    ['a cipher without forward secrecy', { maxVersion: 'TLSv1.2', ciphers: 'AES128-GCM-SHA256' }],
    ['a cipher of the past', { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA' }],
  ] as const)('by %s is refused', async ([, options]) => {
    await expect(handshake(options)).rejects.toThrow();
  });

  it('by TLS 1.2 is served, and does not renegotiate', async () => {
    const socket = await handshake({ maxVersion: 'TLSv1.2', servername: 'photos.example' });
    socket.renegotiate({}, () => undefined);
    await expect(once(socket, 'close')).rejects.toThrow('no renegotiation');
  });

  it('comes back without the whole handshake', async () => {
    const first = connect({
      port: site.port,
      host: '127.0.0.1',
      servername: 'photos.example',
      rejectUnauthorized: false,
    });
    sockets.push(first);
    const [session] = await once(first, 'session');
    expect((await handshake({ servername: 'photos.example', session })).isSessionReused()).toBe(true);
  });

  it('that speaks no TLS is hung up on, and nobody else is', async () => {
    const socket = connectTcp(site.port, '127.0.0.1');
    socket.write('GET / HTTP/1.1\r\nHost: photos.example\r\n\r\n');
    socket.on('error', () => undefined);
    await once(socket, 'close');
    expect(await askHttp2(site.connect())).toMatchObject({ status: 200 });
  });
});

describe('the certificate', () => {
  it('is that of the name that the client asks for, else that of its wildcard, else the first', async () => {
    const certificates = await Promise.all([
      makeCertificate('photos.example', 'www.photos.example'),
      makeCertificate('*.edge.example', 'edge.example'),
      makeCertificate('one.edge.example'),
    ]);
    site.apply({ certificates });
    expect(await shownTo('photos.example')).toContain('DNS:photos.example');
    expect(await shownTo('WWW.Photos.Example')).toContain('DNS:photos.example');
    expect(await shownTo('vm.edge.example')).toContain('DNS:*.edge.example');
    expect(await shownTo('edge.example')).toContain('DNS:*.edge.example');
    expect(await shownTo('one.edge.example')).toBe('DNS:one.edge.example');
    expect(await shownTo('a.vm.edge.example')).toContain('DNS:photos.example');
    expect(await shownTo('elsewhere.example')).toContain('DNS:photos.example');
    expect(await shownTo(undefined)).toContain('DNS:photos.example');
  });

  it('is replaced for new handshakes only: no request under way is lost', async () => {
    const session = site.connect();
    const waiting: (() => void)[] = [];
    origin.answer = (asked, socket) => waiting.push(() => answerTarget(asked, socket));
    const answers = Array.from({ length: 20 }, () => askHttp2(session));
    await origin.until(() => waiting.length === 20);
    site.apply({ certificates: [await makeCertificate('photos.example', 'new.example')] });
    expect(await shownTo('photos.example')).toContain('new.example');
    for (const answer of waiting) answer();
    expect((await Promise.all(answers)).map(({ status }) => status)).toEqual(Array(20).fill(200));
    origin.answer = answerTarget;
    expect(await askHttp2(session)).toMatchObject({ status: 200 });
  });

  it('stays when what should take its place is unusable', async () => {
    const other = await makeCertificate('other.example');
    const mismatched = { certPem: other.certPem, keyPem: site.certificate.keyPem };
    for (const unusable of [mismatched, { certPem: 'x', keyPem: 'y' }]) {
      site.apply({ certificates: [unusable] });
      expect(await shownTo('photos.example')).toBe('DNS:photos.example');
    }
  });

  it('is missing as long as there is none: handshakes fail', async () => {
    site.apply({ certificates: [] });
    await expect(handshake()).rejects.toThrow();
  });

  it('is made ready once, however often the routes change', async () => {
    const [one, other] = await Promise.all([
      makeCertificate('one.example'),
      makeCertificate('other.example'),
    ]);
    const made: unknown[] = [];
    const make = (certificate: unknown) => ({ context: made.push(certificate) });
    const first = new CertificateChooser([one], make);
    const second = new CertificateChooser([{ ...one }, other], make, first);
    expect(made).toEqual([one, other]);
    expect(second.choose('one.example')).toBe(first.choose('one.example'));
    expect(namesIn(one.certPem)).toEqual(['one.example']);
  });
});

describe('a gateway that is closed', () => {
  it('hangs up on whoever is in the middle of a handshake', async () => {
    const socket = connectTcp(site.port, '127.0.0.1');
    socket.on('error', () => undefined);
    const closed = once(socket, 'close');
    await once(socket, 'connect');
    // It is accepted once a later one is.
    await handshake();
    await site.plane.close();
    await closed;
  });
});
