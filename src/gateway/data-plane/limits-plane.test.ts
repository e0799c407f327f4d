import { readFile, rename } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { ask } from '../../../test/support/ask.ts';
import { RawConnection } from '../../../test/support/raw-connection.ts';
import { exchange } from '../../../test/support/raw-http.ts';
import { temporaryFolder } from '../../../test/support/temporary-folder.ts';
import { type Clock, ManualClock, systemClock, systemRandom } from '../../base/index.ts';
import { silentLog } from '../../platform/telemetry/index.ts';
import type { AccessLogOptions } from './access-log.ts';
import type { Exchange } from './data-plane.ts';
import { DEFAULT_LIMITS, type Limits } from './limits.ts';
import { RawDataPlane } from './raw-data-plane.ts';

const closers: (() => Promise<unknown> | void)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

describe('limits', () => {
  it('close the connections that a client has too many of, and count them', async () => {
    const { plane, seen } = await start({ connectionsPerClient: 2 });
    using first = await RawConnection.open(plane.port);
    using second = await RawConnection.open(plane.port);
    using third = await RawConnection.open(plane.port);
    await third.untilEnd();
    expect(seen).toMatchObject([{ limit: 'connections_per_client', servedBy: 'gateway' }]);
    await first.send('GET / HTTP/1.1\r\nHost: photos.example\r\nConnection: close\r\n\r\n');
    await first.untilEnd();
    expect(first.received).toMatch(/^HTTP\/1.1 200 /);
    expect(second.hasEnded).toBe(false);
    while (!(await exchange(plane.port, GET)).startsWith('HTTP/1.1 200 '));
  });

  it('answer 429 to a client that sends too many requests, with the time to come back', async () => {
    const { plane, seen } = await start({ requestsPerSecondPerClient: 2 }, new ManualClock());
    const statuses: number[] = [];
    for (let i = 0; i < 6; i += 1) statuses.push((await ask(plane.port, 'photos.example')).status);
    expect(statuses).toEqual([200, 200, 200, 200, 429, 429]);
    const { headers } = await ask(plane.port, 'photos.example');
    expect(headers['retry-after']).toBe('1');
    expect(seen.at(-1)).toMatchObject({ limit: 'requests_per_second_per_client', status: 429 });
  });

  it('answer 503 when an origin has too many requests under way', async () => {
    const held = Promise.withResolvers<void>();
    const { plane, seen, untilAsked } = await start({ requestsPerOrigin: 1 }, systemClock, held.promise);
    const first = ask(plane.port, 'photos.example');
    await untilAsked;
    expect(await ask(plane.port, 'photos.example')).toMatchObject({ status: 503 });
    expect(seen).toMatchObject([{ limit: 'requests_per_origin', origin: 'photos' }]);
    held.resolve();
    expect(await first).toMatchObject({ status: 200 });
  });

  it('end a head that drips', async () => {
    const clock = new ManualClock();
    const { plane } = await start({ headTimeoutMs: 3000 }, clock);
    using client = await RawConnection.open(plane.port);
    await client.send('GET / HTTP/1.1\r\n');
    while (!client.hasEnded) {
      await clock.advance(500);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(client.received).toMatch(/^HTTP\/1.1 408 /);
    expect(clock.nowMs()).toBeGreaterThanOrEqual(3000);
  });
});

describe('the access log of a data plane', () => {
  it('has a line for each request: served, refused, and what was no request', async () => {
    const file = join(await temporaryFolder(), 'access.log');
    const { plane } = await start({}, systemClock, undefined, { file, format: 'json' });
    await exchange(plane.port, 'GET /a?b HTTP/1.1\r\nHost: photos.example\r\nConnection: close\r\n\r\n');
    await exchange(plane.port, 'HEAD /x HTTP/1.0\r\nHost: elsewhere.example\r\n\r\n');
    await exchange(plane.port, 'nonsense\r\n\r\n');
    await plane.close();
    const lines = (await readFile(file, 'utf8')).trim().split('\n');
    expect(lines.map((line) => JSON.parse(line) as object)).toMatchObject([
      {
        client: '127.0.0.1',
        method: 'GET',
        host: 'photos.example',
        path: '/a?b',
        protocol: 'HTTP/1.1',
        status: 200,
        bytes: 6,
        servedBy: 'origin',
        origin: 'photos',
      },
      { method: 'HEAD', host: 'elsewhere.example', protocol: 'HTTP/1.0', status: 404, bytes: 0, origin: '' },
      { method: '-', path: '-', status: 400, failure: 'a malformed request line' },
    ]);
  });

  it('goes on in a new file after logrotate, when the routes are applied again', async () => {
    const file = join(await temporaryFolder(), 'access.log');
    const { plane, apply } = await start({}, systemClock, undefined, { file, format: 'common' });
    await rename(file, `${file}.1`);
    apply();
    while (!(await readFile(file).catch(() => undefined))) await systemClock.sleep(1);
    await exchange(plane.port, GET);
    await plane.close();
    expect(await readFile(file, 'utf8')).toMatch(
      /^127\.0\.0\.1 - - \[.*\] "GET \/ HTTP\/1\.1" 200 6 "-" "-"\n$/,
    );
    expect(await readFile(`${file}.1`, 'utf8')).toBe('');
  });
});

const GET = 'GET / HTTP/1.1\r\nHost: photos.example\r\nConnection: close\r\n\r\n';

async function start(
  limits: Partial<Limits>,
  clock: Clock = systemClock,
  held: Promise<void> = Promise.resolve(),
  accessLog?: AccessLogOptions,
) {
  const seen: Exchange[] = [];
  const asked = Promise.withResolvers<void>();
  const origin = createServer((_message, response) => {
    asked.resolve();
    void held.then(() => response.end('served'));
  });
  await new Promise<void>((resolve) => origin.listen(0, '127.0.0.1', resolve));
  closers.push(() => {
    origin.close();
    origin.closeAllConnections();
  });
  const plane = await RawDataPlane.start(
    { clock, random: systemRandom, log: silentLog, observe: (each) => seen.push(each) },
    { host: '127.0.0.1', port: 0 },
    { accessLog },
  );
  closers.push(() => plane.close());
  const upstream = { host: '127.0.0.1', port: (origin.address() as { port: number }).port, isTls: false };
  const apply = () =>
    plane.apply({
      routes: new Map([['photos.example', { origin: 'photos', upstream, vms: [] }]]),
      tag: { name: 'Bng-API-Server', value: '192.0.2.1' },
      showServedBy: false,
      limits: { ...DEFAULT_LIMITS, ...limits },
    });
  apply();
  return { plane, seen, apply, untilAsked: asked.promise };
}
