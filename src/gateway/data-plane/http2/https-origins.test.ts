import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import {
  createSecureServer,
  type Http2SecureServer,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2';
import { createServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ask } from '../../../../test/support/ask.ts';
import { askHttp2, type HttpsSite, readAnswer, startHttpsSite } from '../../../../test/support/https-site.ts';
import { makeCertificate } from '../../../../test/support/made-certificate.ts';
import { ManualClock } from '../../../base/index.ts';
import { verifyRequest } from '../../../trust/index.ts';
import { sharedTagKey } from '../../tag-key.ts';
import type { Certificate } from '../data-plane.ts';

let certificate: Certificate;
const closers: (() => void | PromiseLike<void>)[] = [];
beforeEach(async () => {
  certificate = await makeCertificate('localhost', 'photos.example');
});
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

type OnStream = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void;

/** An origin that speaks HTTP/2 only. */
class Http2Origin {
  readonly server: Http2SecureServer;
  readonly sockets = new Set<Socket>();
  connections = 0;

  constructor(onStream: OnStream, settings = {}) {
    this.server = createSecureServer({ cert: certificate.certPem, key: certificate.keyPem, settings });
    this.server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
      stream.on('error', () => undefined);
      onStream(stream, headers);
    });
    this.server.on('secureConnection', (socket: TLSSocket) => {
      this.connections += 1;
      this.sockets.add(socket);
      socket.once('close', () => this.sockets.delete(socket));
    });
    this.server.on('sessionError', () => undefined);
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }
}

async function http2Origin(onStream: OnStream, settings = {}): Promise<Http2Origin> {
  const origin = new Http2Origin(onStream, settings);
  await new Promise<void>((resolve) => origin.server.listen(0, '127.0.0.1', resolve));
  closers.push(() => {
    for (const socket of origin.sockets) socket.destroy();
    origin.server.close();
  });
  return origin;
}

async function http1Origin(listener: RequestListener): Promise<number> {
  const server = createServer({ cert: certificate.certPem, key: certificate.keyPem }, listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

async function siteOf(
  port: number,
  { caPem = certificate.certPem, clock = undefined as ManualClock | undefined } = {},
): Promise<HttpsSite> {
  const site = await startHttpsSite({ host: 'localhost', port, isTls: true, caPem }, clock && { clock });
  closers.push(() => site[Symbol.asyncDispose]());
  return site;
}

const echo: OnStream = (stream, headers) => {
  stream.respond({ ':status': 200 });
  stream.end(`${String(headers[':method'])} ${String(headers[':path'])}`);
};

describe('an origin by HTTPS', () => {
  it('that speaks HTTP/2 is asked over one connection, with the tag signed for it [gateway G1] [gateway G2]', async () => {
    const key = sharedTagKey('a-token-that-both-sides-hold');
    let fields: Record<string, string> = {};
    const origin = await http2Origin((stream, headers) => {
      fields = headers as Record<string, string>;
      stream.respond({ ':status': 200, 'set-cookie': ['a', 'b'], 'x-origin': 'yes' });
      stream.end('hello');
    });
    const site = await siteOf(origin.port);
    site.apply({ signingKey: key });
    const session = site.connect();
    const headers = {
      ':path': '/a?b',
      ':authority': 'photos.example:443',
      'x-twice': ['1', '2'],
      cookie: ['a=1', 'b=2'],
    };
    const answers = await Promise.all(Array.from({ length: 20 }, () => askHttp2(session, headers)));
    expect(answers.map(({ status, body }) => `${status} ${body}`)).toEqual(Array(20).fill('200 hello'));
    expect(answers[0]?.headers).toMatchObject({ 'set-cookie': ['a', 'b'], 'x-origin': 'yes' });
    expect(origin.connections).toBe(1);
    expect(fields).toMatchObject({
      ':scheme': 'https',
      ':authority': 'photos.example:443',
      'x-forwarded-proto': 'https',
      cookie: 'a=1; b=2',
      'x-twice': '1, 2',
      te: 'trailers',
    });
    const verdict = verifyRequest(
      { method: 'GET', authority: 'photos.example', path: '/a', fields },
      { keyOf: () => key, fieldNames: ['bng-api-server'], nowS: Math.floor(Date.now() / 1000), maxAgeS: 60 },
    );
    expect(verdict).toMatchObject({ isValid: true });
  });

  it('that speaks HTTP/2 answers clients by plain HTTP/1.1 too', async () => {
    const origin = await http2Origin((stream, headers) => {
      if (headers[':path'] === '/empty') stream.respond({ ':status': 200 }, { endStream: true });
      else if (headers[':path'] === '/none') stream.respond({ ':status': 204 }, { endStream: true });
      else {
        stream.respond({ ':status': 200, 'content-length': 5 });
        stream.end('hello');
      }
    });
    const site = await siteOf(origin.port);
    const get = (path: string, method = 'GET') => ask(site.plane.port, 'photos.example', path, { method });
    expect(await get('/')).toMatchObject({ status: 200, body: 'hello', headers: { 'content-length': '5' } });
    expect(await get('/', 'HEAD')).toMatchObject({
      status: 200,
      body: '',
      headers: { 'content-length': '5' },
    });
    expect(await get('/empty')).toMatchObject({ status: 200, body: '' });
    expect(await get('/none')).toMatchObject({ status: 204, body: '' });
  });

  it('that speaks HTTP/1.1 is asked so, over connections that are kept', async () => {
    const sockets = new Set<unknown>();
    const port = await http1Origin((message, response) => {
      sockets.add(message.socket);
      response.end(`${message.httpVersion} ${message.url}`);
    });
    const session = (await siteOf(port)).connect();
    const both = await Promise.all(['/a', '/b'].map((path) => askHttp2(session, { ':path': path })));
    expect(both.map(({ body }) => body)).toEqual(['1.1 /a', '1.1 /b']);
    expect(await askHttp2(session, { ':path': '/c' })).toMatchObject({ body: '1.1 /c' });
    expect(sockets.size).toBeLessThan(3);
  });

  it('is not believed when its certificate is from an authority that is not known, or for another name', async () => {
    const origin = await http2Origin(echo);
    const stranger = await makeCertificate('localhost');
    for (const caPem of [stranger.certPem, undefined]) {
      const site = await startHttpsSite({
        host: 'localhost',
        port: origin.port,
        isTls: true,
        ...(caPem !== undefined && { caPem }),
      });
      expect(await askHttp2(site.connect())).toMatchObject({ status: 502 });
      await site[Symbol.asyncDispose]();
    }
    certificate = await makeCertificate('other.example');
    const other = await http2Origin(echo);
    expect(await askHttp2((await siteOf(other.port)).connect())).toMatchObject({ status: 502 });
  });

  it('gets and sends bodies of any size, and trailers', async () => {
    const body = Buffer.alloc(3_000_000, 'abcdefghij');
    const origin = await http2Origin((stream) => {
      let trailers: Record<string, unknown> = {};
      stream.on('trailers', (headers) => {
        trailers = headers;
      });
      stream.respond({ ':status': 200 }, { waitForTrailers: true });
      stream.on('wantTrailers', () =>
        stream.sendTrailers({ 'x-sum': String(trailers['x-check']), 'set-cookie': 'a' }),
      );
      stream.pipe(stream);
    });
    const stream = (await siteOf(origin.port))
      .connect()
      .request({ ':method': 'POST', ':authority': 'photos.example' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-check': '9' }));
    stream.end(body);
    const answer = await readAnswer(stream);
    expect(answer.body === body.toString()).toBe(true);
    expect(answer.trailers).toMatchObject({ 'x-sum': '9' });
    expect(answer.trailers['set-cookie']).toBeUndefined();
  });

  it('is not read faster than the client takes', async () => {
    let sentBytes = 0;
    const chunk = Buffer.alloc(64 * 1024);
    const origin = await http2Origin((stream, headers) => {
      if (headers[':path'] !== '/') return echo(stream, headers);
      stream.respond({ ':status': 200 });
      const write = () => {
        if (sentBytes >= 32 * 2 ** 20 || stream.destroyed) return;
        sentBytes += chunk.length;
        stream.write(chunk, () => setImmediate(write));
      };
      write();
    });
    const session = (await siteOf(origin.port)).connect();
    const stream = session.request({ ':authority': 'photos.example' });
    stream.pause();
    await once(stream, 'response');
    for (let round = 0; round < 20; round += 1) await askHttp2(session, { ':path': '/other' });
    expect(sentBytes).toBeLessThan(4 * 2 ** 20);
    stream.close();
  });

  it('sends early hints', async () => {
    const origin = await http2Origin((stream) => {
      stream.additionalHeaders({ ':status': 103, link: '</style.css>; rel=preload' });
      stream.respond({ ':status': 200 });
      stream.end('hello');
    });
    const stream = (await siteOf(origin.port)).connect().request({ ':authority': 'photos.example' });
    const [early] = await once(stream, 'headers');
    expect(early).toMatchObject({ ':status': 103, link: '</style.css>; rel=preload' });
    expect(await readAnswer(stream)).toMatchObject({ body: 'hello' });
  });

  it('is told when the client goes away', async () => {
    const gone = Promise.withResolvers<number | undefined>();
    const entered = Promise.withResolvers<void>();
    const origin = await http2Origin((stream) => {
      stream.once('close', () => gone.resolve(stream.rstCode));
      entered.resolve();
    });
    const stream = (await siteOf(origin.port)).connect().request({ ':authority': 'photos.example' });
    stream.on('error', () => undefined);
    await entered.promise;
    stream.close(8);
    expect(await gone.promise).toBe(8);
  });

  it('does not see a body as whole that the client has broken off', async () => {
    const outcome = Promise.withResolvers<string>();
    const origin = await http2Origin((stream) => {
      stream.on('data', () => client.destroy());
      stream.on('end', () => outcome.resolve(stream.rstCode === 0 ? 'whole' : 'broken off'));
      stream.on('aborted', () => outcome.resolve('broken off'));
    });
    const client = (await siteOf(origin.port)).connect();
    const stream = client.request({ ':authority': 'photos.example', ':method': 'POST' });
    stream.on('error', () => undefined);
    stream.write('the beginning');
    expect(await outcome.promise).toBe('broken off');
  });
});

describe('an origin by HTTP/2 that', () => {
  it('ends its connection (GOAWAY) answers what is under way there, and the rest over another', async () => {
    const waiting: ServerHttp2Stream[] = [];
    const entered = Promise.withResolvers<void>();
    const origin = await http2Origin((stream, headers) => {
      if (headers[':path'] !== '/slow') return echo(stream, headers);
      waiting.push(stream);
      entered.resolve();
    });
    const session = (await siteOf(origin.port)).connect();
    const slow = askHttp2(session, { ':path': '/slow', ':method': 'POST' });
    await entered.promise;
    waiting[0]?.session?.close();
    // Whichever reaches the origin first.
    const others = await Promise.all(
      Array.from({ length: 5 }, () => askHttp2(session, { ':path': '/other', ':method': 'POST' })),
    );
    expect(others.map(({ status }) => status)).toEqual(Array(5).fill(200));
    waiting[0]?.respond({ ':status': 200 });
    waiting[0]?.end('late');
    expect(await slow).toMatchObject({ body: 'late' });
    expect(origin.connections).toBe(2);
  });

  it('refuses a request unseen is asked again, whatever the method', async () => {
    let refusals = 0;
    const origin = await http2Origin((stream, headers) => {
      if (refusals === 2) return echo(stream, headers);
      refusals += 1;
      stream.close(7);
    });
    const session = (await siteOf(origin.port)).connect();
    expect(await askHttp2(session, { ':method': 'POST' })).toMatchObject({ status: 200, body: 'POST /' });
    expect(refusals).toBe(2);
  });

  it('loses its connection is asked again for what may be asked twice, and for nothing else', async () => {
    let seen: string[] = [];
    const origin = await http2Origin((stream, headers) => {
      seen.push(String(headers[':method']));
      if (headers[':path'] === '/warm' || seen.length > 2) echo(stream, headers);
      else if (seen.length === 2) for (const socket of origin.sockets) socket.destroy();
    });
    const session = (await siteOf(origin.port)).connect();
    await askHttp2(session, { ':path': '/warm' });
    seen = [];
    const answers = await Promise.all([
      askHttp2(session, { ':path': '/a' }),
      askHttp2(session, { ':path': '/b', ':method': 'POST' }),
    ]);
    expect(answers.map(({ status }) => status)).toEqual([200, 502]);
    expect(seen.toSorted()).toEqual(['GET', 'GET', 'POST']);
  });

  it.for([
    ['an error', (stream: ServerHttp2Stream) => stream.close(2)],
    ['its connection', (stream: ServerHttp2Stream) => stream.session?.destroy()],
    ['too few octets', (stream: ServerHttp2Stream) => stream.close(0)],
  ] as const)('breaks off its answer with %s does not make it look whole', async ([, breakOff]) => {
    const origin = await http2Origin((stream) => {
      stream.respond({ ':status': 200, 'content-length': 100 });
      stream.write('the beginning', () => breakOff(stream));
    });
    const site = await siteOf(origin.port);
    await expect(askHttp2(site.connect())).rejects.toThrow();
    await expect(ask(site.plane.port, 'photos.example')).rejects.toThrow();
    await site.untilExchanges(2);
    expect(site.exchanges[0]?.failure).toBe('the origin photos ended in the middle of its answer');
  });

  it('takes few requests at a time is asked over more connections', async () => {
    let active = 0;
    let most = 0;
    const release = Promise.withResolvers<void>();
    const origin = await http2Origin(
      (stream, headers) => {
        if (headers[':path'] === '/warm') return echo(stream, headers);
        active += 1;
        most = Math.max(most, active);
        if (active === 6) release.resolve();
        void release.promise.then(() => echo(stream, headers));
      },
      { maxConcurrentStreams: 2 },
    );
    const session = (await siteOf(origin.port)).connect();
    await askHttp2(session, { ':path': '/warm' });
    const answers = await Promise.all(Array.from({ length: 6 }, () => askHttp2(session)));
    expect(answers.map(({ status }) => status)).toEqual(Array(6).fill(200));
    expect(most).toBe(6);
  });

  it('is there no more is noticed: its connection is given up for all who wait', async () => {
    const clock = new ManualClock();
    const entered = Promise.withResolvers<void>();
    const origin = await http2Origin((stream, headers) => {
      if (headers[':path'] === '/warm') return echo(stream, headers);
      if (origin.connections > 1) return echo(stream, headers);
      // From here on it hears nothing.
      for (const socket of origin.sockets) socket.pause();
      entered.resolve();
    });
    const session = (await siteOf(origin.port, { clock })).connect();
    await askHttp2(session, { ':path': '/warm' });
    const answer = askHttp2(session, { ':path': '/' });
    await entered.promise;
    await clock.advance(10_500);
    await clock.advance(6000);
    expect(await answer).toMatchObject({ status: 200, body: 'GET /' });
  });

  it('is used no more has its connection ended', async () => {
    const clock = new ManualClock();
    const origin = await http2Origin(echo);
    await askHttp2((await siteOf(origin.port, { clock })).connect());
    const [socket] = origin.sockets;
    const closed = socket && once(socket, 'close');
    await clock.advance(31_000);
    await closed;
  });
});
