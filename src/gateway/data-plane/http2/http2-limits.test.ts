import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { askHttp2, type HttpsSite, readAnswer, startHttpsSite } from '../../../../test/support/https-site.ts';
import {
  data,
  type Field,
  frame,
  headers,
  RawHttp2,
  reset,
  TYPE,
} from '../../../../test/support/raw-http2.ts';
import { answerTarget, RecordingOrigin } from '../../../../test/support/recording-origin.ts';
import { ManualClock } from '../../../base/index.ts';

const SOUND: readonly Field[] = [
  [':method', 'GET'],
  [':scheme', 'https'],
  [':path', '/'],
  [':authority', 'photos.example'],
];
const UPLOAD: readonly Field[] = [[':method', 'POST'], ...SOUND.slice(1)];
const silent = () => undefined;

let origin: RecordingOrigin;
let site: HttpsSite;
let clock: ManualClock;
let client: RawHttp2;
beforeEach(async () => {
  origin = await RecordingOrigin.start();
  clock = new ManualClock();
  site = await startHttpsSite({ port: origin.port }, { clock });
  client = await RawHttp2.connect(site.port, 'photos.example');
});
afterEach(async () => {
  await client[Symbol.asyncDispose]();
  await site[Symbol.asyncDispose]();
  await origin[Symbol.asyncDispose]();
});

/** What a GOAWAY gives as the reason. */
const reasonOf = () => client.frames.find(({ type }) => type === TYPE.goaway)?.payload.readUInt32BE(4);

/** Sends the same octets again and again until the gateway has had enough. */
async function flood(octets: Buffer): Promise<void> {
  const many = Buffer.concat(Array<Buffer>(1000).fill(octets));
  while (!client.isClosed && !client.isEnded) {
    client.send(many);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe('a client by HTTP/2 that overdoes it', () => {
  it('has 128 requests under way at the most; further ones wait for their turn', async () => {
    const waiting: (() => void)[] = [];
    origin.answer = (request, socket) => waiting.push(() => answerTarget(request, socket));
    const session = site.connect();
    await once(session, 'remoteSettings');
    const answers = Array.from({ length: 130 }, () => askHttp2(session));
    await origin.until(() => waiting.length >= 128);
    await new Promise((resolve) => session.ping(resolve));
    expect(waiting).toHaveLength(128);
    for (const answer of waiting) answer();
    origin.answer = answerTarget;
    expect((await Promise.all(answers)).map(({ status }) => status)).toEqual(Array(130).fill(200));
  });

  it('and does not keep to that is hung up on', async () => {
    await client.until((frames) => frames.some(({ type, flags }) => type === TYPE.settings && flags === 1));
    client.send(...Array.from({ length: 200 }, (_, index) => headers(2 * index + 1, SOUND)));
    await client.until(() => false);
    expect(reasonOf()).not.toBe(0);
  });

  it('and takes each request back at once is hung up on (CVE-2023-44487)', async () => {
    origin.answer = silent;
    for (let stream = 1; stream < 4000 && !client.isClosed; stream += 2) {
      client.send(headers(stream, SOUND), reset(stream, 8));
      if (stream % 100 === 99) await new Promise((resolve) => setImmediate(resolve));
    }
    await client.until(() => false);
    await origin.until(() => origin.openConnections === 0);
    expect(origin.requests.length).toBeLessThan(400);
  });

  it('and never ends its head is hung up on', async () => {
    client.send(frame(TYPE.headers, 0, 1, Buffer.alloc(0)));
    await flood(frame(TYPE.continuation, 0, 1, Buffer.from([0, 1, 0x78, 1, 0x79])));
    expect(origin.requests).toEqual([]);
  });

  it.for([
    ['PING', frame(TYPE.ping, 0, 0, Buffer.alloc(8))],
    ['SETTINGS', frame(TYPE.settings, 0, 0, Buffer.from([0, 4, 0, 0, 0xff, 0xff]))],
  ] as const)('and takes no answers to its %s is hung up on', async ([, octets]) => {
    client.pause();
    await flood(octets);
  });

  it('and sends empty frames without end is hung up on', async () => {
    origin.answer = silent;
    client.send(headers(1, UPLOAD, 0));
    await flood(data(1, ''));
  });

  it('and sends one malformed request after the other is hung up on', async () => {
    for (let stream = 1; stream < 4000 && !client.isClosed; stream += 2) {
      client.send(headers(stream, [...SOUND, ['connection', 'close']]));
      if (stream % 100 === 99) await new Promise((resolve) => setImmediate(resolve));
    }
    await client.until(() => false);
    expect(origin.requests).toEqual([]);
  });
});

describe('a client by HTTP/2 that is slow', () => {
  it('and uses its connection no more is told so, and hung up on', async () => {
    client.send(headers(1, SOUND));
    expect(await client.outcome(1)).toBe(0);
    await clock.advance(59_000);
    expect(reasonOf()).toBeUndefined();
    await clock.advance(1500);
    await client.until((frames) => frames.some(({ type }) => type === TYPE.goaway));
    expect(reasonOf()).toBe(0);
    await clock.advance(1500);
    await client.until(() => false);
  });

  it('with a body that somebody waits for is cut off, and the origin does not see it end', async () => {
    client.send(headers(1, UPLOAD, 0), data(1, 'the beginning'));
    const partial = () =>
      new Promise<void>((resolve) => {
        origin.onPartial = () => resolve();
      });
    await partial();
    await clock.advance(29_000);
    client.send(data(1, 'x'.repeat(2000)));
    await partial();
    await clock.advance(2000);
    expect(client.on(1).some(({ type }) => type === TYPE.reset)).toBe(false);
    await clock.advance(30_000);
    expect(await client.outcome(1)).toBe(8);
    await origin.until(() => origin.openConnections === 0);
    expect(origin.requests).toEqual([]);
  });

  it('to take its answer is cut off, and the origin is let go', async () => {
    origin.answer = (_request, socket) => {
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
      const chunk = `10000\r\n${'x'.repeat(0x10000)}\r\n`;
      for (let count = 0; count < 100; count += 1) socket.write(chunk);
    };
    // The client's window, 64 KiB, is never opened again.
    client.send(headers(1, SOUND));
    const received = () => client.on(1).reduce((sum, { payload }) => sum + payload.length, 0);
    await client.until(() => received() >= 65_535);
    await clock.advance(59_000);
    expect(client.on(1).some(({ type }) => type === TYPE.reset)).toBe(false);
    await clock.advance(3000);
    expect(await client.outcome(1)).toBe(8);
    await origin.until(() => origin.openConnections === 0);
  });

  it('is told when the origin is slower: 504', async () => {
    origin.answer = silent;
    const answer = askHttp2(site.connect());
    await origin.until(() => origin.requests.length === 1);
    await clock.advance(61_000);
    expect(await answer).toMatchObject({ status: 504 });
  });
});

describe('a gateway that is closed', () => {
  it('ends what is under way, and takes no new request', async () => {
    const entered = Promise.withResolvers<() => void>();
    origin.answer = (request, socket) => entered.resolve(() => answerTarget(request, socket));
    const session = site.connect();
    const answer = askHttp2(session);
    const release = await entered.promise;
    const goaway = once(session, 'goaway');
    const closing = site.plane.close();
    await goaway;
    expect(session.closed).toBe(true);
    release();
    expect(await answer).toMatchObject({ status: 200 });
    await clock.advance(1500);
    await closing;
  });

  it('ends after 10 s what does not end by itself', async () => {
    origin.answer = silent;
    const stream = site.connect().request({ ':authority': 'photos.example' });
    const broken = expect(readAnswer(stream)).rejects.toThrow();
    await origin.until(() => origin.requests.length === 1);
    const closing = site.plane.close();
    await clock.advance(10_000);
    await Promise.all([broken, closing]);
  });
});
