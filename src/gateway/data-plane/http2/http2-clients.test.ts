import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import { afterEach, describe, expect, it } from 'vitest';
import { askHttp2, type HttpsSite, readAnswer, startHttpsSite } from '../../../../test/support/https-site.ts';
import { data, type Field, headers, RawHttp2, reset } from '../../../../test/support/raw-http2.ts';
import { RecordingOrigin } from '../../../../test/support/recording-origin.ts';
import { ManualClock } from '../../../base/index.ts';
import { verifyRequest } from '../../../trust/index.ts';
import { sharedTagKey } from '../../tag-key.ts';

const closers: AsyncDisposable[] = [];
afterEach(async () => {
  for (const each of closers.splice(0).toReversed()) await each[Symbol.asyncDispose]();
});
const kept = <Part extends AsyncDisposable>(part: Part): Part => {
  closers.push(part);
  return part;
};
const fieldsOf = ({ fields }: { fields: readonly (readonly [string, string])[] }) =>
  Object.fromEntries(fields.map(([name, value]) => [name.toLowerCase(), value]));

const request = (method: string, path = '/'): Field[] => [
  [':method', method],
  [':scheme', 'https'],
  [':path', path],
  [':authority', 'photos.example'],
];

async function siteOf(listener: RequestListener, clock?: ManualClock): Promise<HttpsSite> {
  return kept(await startHttpsSite({ port: await serve(listener) }, clock && { clock }));
}

async function serve(listener: RequestListener): Promise<number> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push({
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  });
  return (server.address() as { port: number }).port;
}

async function readAll(message: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of message) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

describe('a client that speaks HTTP/2', () => {
  it('is forwarded to the origin with the tag, and gets its answer unchanged [gateway G1] [gateway G3]', async () => {
    const origin = kept(await RecordingOrigin.start());
    origin.answer = (_request, socket) =>
      socket.write(
        'HTTP/1.1 200 Fine\r\nX-Origin: yes\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nETag: "1"\r\nETag: "2"\r\n' +
          'HTTP2-Settings: x\r\nKeep-Alive: 5\r\nX-Name: caf\xe9\r\nContent-Length: 5\r\n\r\nhello',
        'latin1',
      );
    const site = kept(await startHttpsSite({ port: origin.port }));
    const answer = await askHttp2(site.connect(), {
      ':path': '/a?b=c',
      cookie: ['a=1', 'b=2'],
      'x-name': 'caf\xe9',
    });
    expect(answer).toMatchObject({ status: 200, body: 'hello' });
    expect(answer.headers).toMatchObject({
      'x-origin': 'yes',
      'set-cookie': ['a', 'b'],
      'content-length': '5',
      'orilla-served-by': 'origin',
      'x-name': 'caf\xe9',
      etag: '"1", "2"',
    });
    expect(answer.headers['date']).toBeUndefined();
    expect(origin.faults).toEqual([]);
    const [received] = origin.requests;
    expect(received).toMatchObject({ method: 'GET', target: '/a?b=c' });
    expect(received && fieldsOf(received)).toMatchObject({
      host: 'photos.example',
      cookie: 'a=1; b=2',
      'x-name': 'caf\xe9',
      'bng-api-server': '192.0.2.1',
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'https',
      'x-forwarded-host': 'photos.example',
    });
    await site.untilExchanges(1);
    expect(site.exchanges[0]).toMatchObject({ origin: 'photos', servedBy: 'origin', status: 200 });
  });

  it('may have its tag verified: it is signed for the name that the origin knows [gateway G2]', async () => {
    const key = sharedTagKey('a-token-that-both-sides-hold');
    const origin = kept(await RecordingOrigin.start());
    const site = kept(await startHttpsSite({ port: origin.port }));
    site.apply({ signingKey: key });
    await askHttp2(site.connect(), { ':path': '/a?b', ':authority': 'Photos.Example' });
    const fields = fieldsOf(origin.requests[0] ?? { fields: [] });
    const verdict = verifyRequest(
      { method: 'GET', authority: 'photos.example', path: '/a', fields },
      { keyOf: () => key, fieldNames: ['bng-api-server'], nowS: Math.floor(Date.now() / 1000), maxAgeS: 60 },
    );
    expect(verdict).toMatchObject({ isValid: true });
  });

  it('sends and gets bodies of any size without loss, their length told or not', async () => {
    const site = await siteOf((message, response) => {
      if (message.headers['content-length'] !== undefined) {
        response.setHeader('content-length', message.headers['content-length']);
      }
      message.pipe(response);
    });
    const session = site.connect();
    const body = Buffer.alloc(3_000_000, 'abcdefghij');
    for (const length of [{}, { 'content-length': body.length }]) {
      const answer = await askHttp2(session, { ':method': 'POST', ...length }, body);
      expect(answer.status).toBe(200);
      expect(answer.body === body.toString()).toBe(true);
    }
  });

  it('is not sent more than it takes, and neither is the origin', async () => {
    let sentBytes = 0;
    const chunk = Buffer.alloc(64 * 1024);
    const site = await siteOf((message, response) => {
      if (message.url === '/upload') return;
      const write = () => {
        if (sentBytes >= 64 * 2 ** 20) response.end();
        else {
          sentBytes += chunk.length;
          if (response.write(chunk)) setImmediate(write);
          else response.once('drain', write);
        }
      };
      write();
    });
    const session = site.connect();
    const download = session.request({ ':path': '/', ':authority': 'photos.example' });
    download.pause();
    await once(download, 'response');
    const upload = session.request({ ':path': '/upload', ':method': 'POST', ':authority': 'photos.example' });
    let uploadedBytes = 0;
    while (upload.write(chunk)) uploadedBytes += chunk.length;
    await new Promise((resolve) => session.ping(resolve));
    await askHttp2(session, { ':authority': 'elsewhere.example' });
    expect(sentBytes).toBeLessThan(16 * 2 ** 20);
    expect(uploadedBytes).toBeLessThan(2 ** 20);
    download.close();
    upload.close();
  });

  it('passes trailers both ways, but none that only a head may have', async () => {
    const origin = kept(await RecordingOrigin.start());
    origin.answer = (_request, socket) =>
      socket.write(
        'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\nSet-Cookie: a\r\n\r\n',
      );
    const site = kept(await startHttpsSite({ port: origin.port }));
    const stream = site
      .connect()
      .request({ ':method': 'POST', ':authority': 'photos.example' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-check': '9', cookie: 'a', 'bng-api-url': 'x' }));
    stream.end('body');
    const answer = await readAnswer(stream);
    expect(answer).toMatchObject({ body: 'hi', trailers: { 'x-sum': '7' } });
    expect(answer.trailers['set-cookie']).toBeUndefined();
    expect(origin.requests[0]).toMatchObject({ body: 'body', trailers: [['x-check', '9']] });
  });

  it('gets what comes before an answer: 103 from the origin, 100 from the gateway', async () => {
    const site = await siteOf((message, response) => {
      response.writeEarlyHints({ link: '</style.css>; rel=preload' });
      void readAll(message).then((body) => response.end(body));
    });
    const stream = site
      .connect()
      .request({ ':method': 'POST', ':authority': 'photos.example', expect: '100-continue' });
    const early: unknown[] = [];
    stream.on('headers', (head) => early.push([head[':status'], head['link']]));
    stream.on('continue', () => stream.end('body'));
    expect(await readAnswer(stream)).toMatchObject({ status: 200, body: 'body' });
    expect(early).toEqual([
      [100, undefined],
      [103, '</style.css>; rel=preload'],
    ]);
  });

  it.for([
    ['HEAD', 200, 'Content-Length: 12', '12'],
    ['HEAD', 200, 'Transfer-Encoding: chunked', undefined],
    ['GET', 204, 'X: y', undefined],
    ['GET', 304, 'Content-Length: 12', '12'],
    ['GET', 205, 'Content-Length: 0', undefined],
    ['GET', 200, 'Content-Length: 0', '0'],
  ] as const)('gets an answer to %s without a body: %i, %s', async ([method, status, field, length]) => {
    const origin = kept(await RecordingOrigin.start());
    origin.answer = (_request, socket) => socket.write(`HTTP/1.1 ${status} X\r\n${field}\r\n\r\n`);
    const site = kept(await startHttpsSite({ port: origin.port }));
    const session = site.connect();
    for (let round = 0; round < 2; round += 1) {
      const answer = await askHttp2(session, { ':method': method });
      expect(answer).toMatchObject({ status, body: '' });
      expect(answer.headers['content-length']).toBe(length);
    }
  });

  it('sees that an answer is not whole when it broke off', async () => {
    const site = await siteOf((message, response) => {
      response.writeHead(200, message.url === '/told' ? { 'content-length': 100 } : {});
      response.write('the beginning', () => response.destroy());
    });
    const raw = kept(await RawHttp2.connect(site.port, 'photos.example'));
    for (const [index, path] of ['/told', '/untold'].entries()) {
      const stream = 2 * index + 1;
      raw.send(headers(stream, request('GET', path)));
      expect(await raw.outcome(stream)).toBe(2);
    }
    const session = site.connect();
    await expect(askHttp2(session, { ':path': '/told' })).rejects.toThrow();
    await expect(askHttp2(session, { ':path': '/untold' })).rejects.toThrow();
    await site.untilExchanges(4);
    expect(site.exchanges.map(({ failure }) => failure)).toEqual(
      Array(4).fill('the origin photos ended in the middle of its answer'),
    );
    // The connection goes on.
    expect(await askHttp2(session, { ':authority': 'elsewhere.example' })).toMatchObject({ status: 404 });
  });

  it('is answered by the origin when the VM breaks off, and by a VM that is ready [gateway G10]', async () => {
    const site = await siteOf((message, response) => response.end(`origin ${message.url}`));
    const vm = async (listener: RequestListener) => ({
      name: 'photos',
      host: '127.0.0.1',
      port: await serve(listener),
      isTls: false,
    });
    site.apply({ vms: [await vm((message, response) => response.end(`vm ${message.url}`))] });
    const answer = await askHttp2(site.connect(), { ':path': '/x' });
    expect(answer).toMatchObject({ body: 'vm /x', headers: { 'orilla-served-by': 'vm/photos' } });
    site.apply({ vms: [await vm((message) => message.socket.destroy())] });
    expect(await askHttp2(site.connect(), { ':path': '/x', ':method': 'DELETE' })).toMatchObject({
      body: 'origin /x',
    });
    await site.untilExchanges(2);
    expect(site.exchanges[1]).toMatchObject({ servedBy: 'origin', wasReplayed: true });
  });

  it('that goes away is not asked for any longer', async () => {
    const entered = Promise.withResolvers<void>();
    const gone = Promise.withResolvers<void>();
    const site = await siteOf((message) => {
      message.socket.once('close', gone.resolve);
      entered.resolve();
    });
    const stream = site.connect().request({ ':authority': 'photos.example' });
    stream.on('error', () => undefined);
    await entered.promise;
    stream.close(8);
    await gone.promise;
    await site.untilExchanges(1);
    expect(site.exchanges[0]).toMatchObject({ status: 499, failure: 'client broke off' });
  });

  it.for([0, 8, 2])(
    'that takes its body back in the middle (error %i) has sent none: the origin sees it broken off',
    async (code) => {
      const outcome = Promise.withResolvers<string>();
      const site = await siteOf((message) => {
        message.on('data', () => client.send(reset(1, code)));
        message.on('end', () => outcome.resolve('whole'));
        message.on('error', () => outcome.resolve('broken off'));
      });
      const client = kept(await RawHttp2.connect(site.port, 'photos.example'));
      client.send(headers(1, request('POST'), 0), data(1, 'the beginning'));
      expect(await outcome.promise).toBe('broken off');
    },
  );

  it('gets an answer that comes before its request is over, and is told to stop', async () => {
    const clock = new ManualClock();
    const site = await siteOf((_message, response) => {
      response.writeHead(413, { connection: 'close' }).end('too long');
    }, clock);
    const stream = site.connect().request({ ':authority': 'photos.example', ':method': 'POST' });
    stream.write('the beginning');
    const closed = once(stream, 'close');
    expect(await new Promise((resolve) => stream.once('response', (head) => resolve(head[':status'])))).toBe(
      413,
    );
    let body = '';
    stream.setEncoding('utf8').on('data', (text) => {
      body += text;
    });
    await once(stream, 'end');
    expect(body).toBe('too long');
    await clock.advance(1500);
    await closed;
    expect(stream.rstCode).toBe(0);
  });
});
