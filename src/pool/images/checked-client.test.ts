import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ManualClock } from '../../base/index.ts';
import { CheckedClient } from './checked-client.ts';
import { urlSource } from './image-source.ts';
import { listedServers } from './server-policy.ts';

let server: Server;
let port: number;
let answer: RequestListener;
let asked: IncomingMessage[];
/** What each look-up of a name answers, one after the other; the last for good. */
let addresses: string[][];
let lookUps: string[];

beforeEach(async () => {
  asked = [];
  lookUps = [];
  addresses = [['127.0.0.1']];
  answer = (_request, response) => void response.end('a kernel');
  server = createServer((request, response) => {
    asked.push(request);
    answer(request, response);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  ({ port } = server.address() as AddressInfo);
});
afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
});

const { signal } = new AbortController();
const resolve = async (name: string) => {
  lookUps.push(name);
  return (addresses.length > 1 ? addresses.shift() : addresses[0]) ?? [];
};
/** Allows names, and this machine behind them by its address alone. */
const policy = () =>
  listedServers({ listed: [`images.example:${port}`, `other.example:${port}`, `127.0.0.1:${port}`] });
const get = async (url: string) => {
  const response = await new CheckedClient(policy(), resolve).get(new URL(url), signal);
  return text(response);
};
const images = (path = '/vmlinuz') => `http://images.example:${port}${path}`;
const redirectTo = (...targets: string[]) => {
  answer = (_request, response) => {
    const location = targets.shift();
    if (location === undefined) response.end('a kernel');
    else response.writeHead(302, { location }).end();
  };
};

describe('a name', () => {
  test('is connected to at the address that it led to, under its own Host', async () => {
    expect(await get(images())).toBe('a kernel');
    expect(asked[0]?.headers.host).toBe(`images.example:${port}`);
  });

  test.for([
    ['10.0.0.1'],
    ['169.254.169.254'],
    ['::1'],
    ['::ffff:127.0.0.1'],
    ['fe80::1'],
    ['fd00::1'],
    ['0.0.0.0'],
    ['192.168.0.1', '172.16.0.1'],
  ])('that leads to %s is not connected to, and the answer does not tell where it led', async (...[led]) => {
    addresses = [led];
    const refused = await get(images()).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: 'image_address_refused', status: 403 });
    for (const address of led) expect((refused as Error).message).not.toContain(address);
    expect(asked).toEqual([]);
  });

  test('that leads to several addresses is connected to at those that are allowed', async () => {
    addresses = [['10.0.0.1', '127.0.0.1']];
    expect(await get(images())).toBe('a kernel');
  });

  test('that leads elsewhere the second time leads nowhere new: it is looked up once for all files', async () => {
    addresses = [['127.0.0.1'], ['169.254.169.254']];
    const source = urlSource(new ManualClock(), new URL(images('/photos')), { policy: policy(), resolve });
    for (const file of ['image.json', 'vmlinuz', 'base.cpio']) {
      const octets = [];
      for await (const chunk of source.read(file, { signal, limitBytes: 100 })) octets.push(chunk);
      expect(Buffer.concat(octets).toString()).toBe('a kernel');
    }
    expect(lookUps).toEqual(['images.example']);
  });

  test('that cannot be looked up could not be fetched', async () => {
    const source = urlSource(new ManualClock(), new URL(images()), {
      policy: policy(),
      resolve: () => Promise.reject(new Error('no such name')),
    });
    const reading = source.read('vmlinuz', { signal, limitBytes: 100 })[Symbol.asyncIterator]();
    await expect(reading.next()).rejects.toMatchObject({
      code: 'image_fetch_failed',
      message: expect.stringContaining('no such name'),
    });
  });

  test('whose look-up hangs is given up with all else that is silent', async () => {
    const clock = new ManualClock();
    const hangs = Promise.withResolvers<never>();
    const source = urlSource(clock, new URL(images()), { policy: policy(), resolve: () => hangs.promise });
    const reading = source.read('vmlinuz', { signal, limitBytes: 100 })[Symbol.asyncIterator]();
    const refused = expect(reading.next()).rejects.toMatchObject({
      message: expect.stringContaining('the server is silent'),
    });
    await clock.advance(15_000);
    await refused;
    expect(clock.pendingTimers).toBe(0);
  });
});

describe('a redirect', () => {
  test('is followed to a server that is allowed, relative ones too', async () => {
    redirectTo('/elsewhere', `http://other.example:${port}/there`);
    expect(await get(images())).toBe('a kernel');
    expect(asked.map(({ url, headers }) => `${headers.host}${url}`)).toEqual([
      `images.example:${port}/vmlinuz`,
      `images.example:${port}/elsewhere`,
      `other.example:${port}/there`,
    ]);
  });

  test.for([
    ['the metadata of a cloud', 'http://169.254.169.254/latest/meta-data/', 'image_outside_root'],
    ['the same in another spelling', 'http://2852039166/latest/meta-data/', 'image_outside_root'],
    ['the same in a third', 'http://[::ffff:a9fe:a9fe]/', 'image_outside_root'],
    ['another port of this machine', 'http://127.0.0.1:1/', 'image_outside_root'],
    ['a server that is not listed', 'http://attacker.example/', 'image_outside_root'],
    ['a file', 'file:///etc/passwd', 'image_address_refused'],
    ['another scheme', 'gopher://images.example/', 'image_address_refused'],
    ['data', 'data:text/plain,a%20kernel', 'image_address_refused'],
    ['a password', 'http://user:secret@images.example/', 'image_address_refused'],
    ['no URL', 'http://[', 'image_fetch_failed'],
  ] as const)('to %s is refused', async ([, location, code]) => {
    redirectTo(location);
    await expect(get(images())).rejects.toMatchObject({
      code,
      message: expect.not.stringContaining('secret'),
    });
    expect(asked).toHaveLength(1);
  });

  test('to an allowed name that leads to a local address is refused', async () => {
    redirectTo(`http://other.example:${port}/`);
    addresses = [['127.0.0.1'], ['10.0.0.1']];
    await expect(get(images())).rejects.toMatchObject({ code: 'image_address_refused' });
    expect(asked).toHaveLength(1);
  });

  test('is followed five times, not six', async () => {
    redirectTo(...Array.from({ length: 5 }, () => '/again'));
    expect(await get(images())).toBe('a kernel');
    redirectTo(...Array.from({ length: 6 }, () => '/again'));
    await expect(get(images())).rejects.toMatchObject({
      code: 'image_fetch_failed',
      message: expect.stringContaining('redirects more than 5 times'),
    });
  });
});

test('an address that is down makes way for the next', async () => {
  const [down, up] = ['127.0.0.9', '127.0.0.1'];
  addresses = [[down, up]];
  const both = listedServers({
    listed: [`images.example:${port}`, `${down}:${port}`, `${up}:${port}`],
  });
  const response = await new CheckedClient(both, resolve).get(new URL(images()), signal);
  expect(await text(response)).toBe('a kernel');
});
