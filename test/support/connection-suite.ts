import type { Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { type PlaneSite, type StartPlane, startPlaneSite } from './plane-site.ts';
import { RawConnection } from './raw-connection.ts';
import { answerTarget, RecordingOrigin } from './recording-origin.ts';
import { statusOf, valuesOf } from './strict-http.ts';
import { readTranscript } from './transcript.ts';
import { untilQuiet } from './until-quiet.ts';

const HOST = 'Host: photos.example\r\n';
const SWITCH = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';
const UPGRADE =
  `GET /chat HTTP/1.1\r\n${HOST}Connection: Upgrade\r\nUpgrade: websocket\r\n` +
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n';

/** More than all buffers of two connections over the loopback hold. */
const FLOOD_OCTETS = 300_000_000;
const HELD_LIMIT_OCTETS = 64_000_000;
/** A peer that nothing has moved for so many turns of the event loop is held back. */
const HELD_TURNS = 200;

/**
 * What a data plane does with connections, on both sides: reuse and its races, order, the end of one half, tunnels.
 *
 * @param left titles of tests that the plane is known to fail, with the reason.
 */
export function describeConnections(
  name: string,
  start: StartPlane,
  left: Readonly<Record<string, string>> = {},
): void {
  const test = (title: string, run: (origin: RecordingOrigin, site: PlaneSite) => Promise<void>) =>
    it.skipIf(left[title] !== undefined)(title, { timeout: 60_000 }, async () => {
      await using origin = await RecordingOrigin.start();
      await using site = await startPlaneSite(start, origin.port);
      await run(origin, site);
    });

  describe(`${name} and its connections`, () => {
    test('a kept connection that the origin ends while it is used again costs no answer', async (origin, site) => {
      const served = new Set<number>();
      origin.answer = (request, socket) => {
        // Whoever asks a second time on one connection finds it closed.
        if (served.has(request.connection)) {
          socket.destroy();
          return;
        }
        served.add(request.connection);
        answerTarget(request, socket);
      };
      for (const method of ['GET', 'POST', 'PUT', 'DELETE', 'PATCH']) {
        for (let turn = 0; turn < 10; turn += 1) {
          const body = await ask(
            site,
            `${method} /${turn} HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhello`,
          );
          expect(body).toBe(`${method} /${turn}\n`);
        }
      }
      // What may not be sent twice was not.
      const posts = origin.requests.filter(({ method }) => method === 'POST' || method === 'PATCH');
      expect(posts).toHaveLength(20);
    });

    test('a kept connection that the origin ends after each answer costs no answer', async (origin, site) => {
      origin.answer = (request, socket) => {
        answerTarget(request, socket);
        socket.end();
      };
      using client = await RawConnection.open(site.port);
      for (let turn = 0; turn < 200; turn += 1) {
        await client.send(`GET /${turn} HTTP/1.1\r\n${HOST}\r\n`);
        await client.until(() => client.hasEnded || client.received.endsWith(`GET /${turn}\n`));
      }
      const { answers } = readTranscript(client.received, [], true);
      expect(new Set(answers.map(statusOf))).toEqual(new Set([200]));
      expect(answers).toHaveLength(200);
    });

    test('a request that an origin breaks off every time is given up after a few tries', async (origin, site) => {
      origin.answer = (_request, socket) => void socket.destroy();
      using client = await RawConnection.open(site.port);
      await client.send(`GET /case HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`);
      await client.untilEnd();
      expect(readTranscript(client.received, [], true).answers.map(statusOf)).toEqual([502]);
      expect(origin.requests.length).toBeLessThanOrEqual(3);
    });

    test('a thousand pipelined requests are answered in order', async (origin, site) => {
      const methods = Array.from(
        { length: 1000 },
        (_, i) => (['GET', 'POST', 'HEAD', 'PUT'] as const)[i % 4] ?? 'GET',
      );
      const requests = methods.map((method, i) => {
        const body = method === 'POST' || method === 'PUT' ? `body ${i}` : '';
        return `${method} /${i} HTTP/1.1\r\n${HOST}Content-Length: ${body.length}\r\n\r\n${body}`;
      });
      using client = await RawConnection.open(site.port);
      await client.send(requests.join(''), `GET /last HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`);
      await client.untilEnd();
      const { answers, rest } = readTranscript(client.received, methods, true);
      expect(rest).toBe('');
      expect(answers.map(({ body }) => body)).toEqual([
        ...methods.map((method, i) => (method === 'HEAD' ? '' : `${method} /${i}\n`)),
        'GET /last\n',
      ]);
      expect(origin.requests.map(({ target }) => target)).toEqual([
        ...methods.map((_, i) => `/${i}`),
        '/last',
      ]);
    });

    test('one client of HTTP/1.0 keeps its connection, and gets nothing in chunks', async (origin, site) => {
      origin.answer = ({ target }, socket) => {
        if (target === '/chunked') {
          socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n');
        } else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      };
      using client = await RawConnection.open(site.port);
      const get = (path: string) => `GET ${path} HTTP/1.0\r\n${HOST}Connection: keep-alive\r\n\r\n`;
      await client.send(get('/a'), get('/b'), get('/chunked'));
      await client.untilEnd();
      const { answers } = readTranscript(client.received, [], true);
      expect(answers.map(({ body }) => body)).toEqual(['ok', 'ok', 'hello']);
      expect(answers.flatMap(({ fields }) => valuesOf(fields, 'transfer-encoding'))).toEqual([]);
      expect(valuesOf(answers[0]?.fields ?? [], 'connection').map((value) => value.toLowerCase())).toEqual([
        'keep-alive',
      ]);
    });

    test('a client that ends its half gets a whole answer or none, and leaves nothing behind', async (origin, site) => {
      for (const isAsked of [true, false]) {
        using client = await RawConnection.open(site.port);
        await client.send(isAsked ? `GET /case HTTP/1.1\r\n${HOST}\r\n` : 'GET /ca');
        client.end();
        await client.untilEnd();
        const { answers, rest } = readTranscript(client.received, [], true);
        expect(rest).toBe('');
        expect(answers.length).toBeLessThanOrEqual(1);
      }
      expect(origin.requests.length).toBeLessThanOrEqual(1);
      await origin.untilNothingPartial();
    });

    test('a tunnel carries every octet both ways, and ends with either side', async (origin, site) => {
      for (const who of ['client', 'origin'] as const) {
        const tunnel = await openTunnel(origin, site);
        using client = tunnel.client;
        const [there, back] = [noise(2_000_000, 7), noise(2_000_000, 11)];
        await client.send(there);
        tunnel.server.write(back, 'latin1');
        await client.until(() => client.received.length >= back.length);
        await origin.until(() => tunnel.received().length >= there.length);
        expect(tunnel.received() === there && client.received === back).toBe(true);
        if (who === 'client') client.end();
        else tunnel.server.end();
        await client.untilEnd();
        await origin.until(() => tunnel.server.destroyed);
      }
    });

    test('a tunnel holds back whoever sends more than the other reads', async (origin, site) => {
      const chunk = 'x'.repeat(1_000_000);
      const down = await openTunnel(origin, site);
      down.client.pause();
      let sentOctets = 0;
      const pour = () => {
        while (!down.server.destroyed && sentOctets < FLOOD_OCTETS) {
          sentOctets += chunk.length;
          if (!down.server.write(chunk)) {
            down.server.once('drain', pour);
            return;
          }
        }
      };
      pour();
      await untilQuiet(() => sentOctets, HELD_TURNS);
      expect(sentOctets).toBeLessThan(HELD_LIMIT_OCTETS);
      down.server.destroy();
      down.client[Symbol.dispose]();

      const up = await openTunnel(origin, site);
      up.server.pause();
      let takenOctets = 0;
      const pouring = (async () => {
        while (takenOctets < FLOOD_OCTETS && !up.client.hasEnded) {
          await up.client.sendAll(chunk);
          takenOctets += chunk.length;
        }
      })();
      await untilQuiet(() => takenOctets, HELD_TURNS);
      expect(takenOctets).toBeLessThan(HELD_LIMIT_OCTETS);
      up.server.destroy();
      await up.client.untilEnd();
      await pouring;
    });
  });
}

/** The body of the answer to one request over a connection of its own. */
async function ask(site: PlaneSite, octets: string): Promise<string | undefined> {
  using client = await RawConnection.open(site.port);
  await client.send(octets.replace(HOST, `${HOST}Connection: close\r\n`));
  await client.untilEnd();
  return readTranscript(client.received, [octets.split(' ')[0] ?? ''], true).answers[0]?.body;
}

/** A WebSocket that the origin has accepted; whatever was said for that is taken out. */
async function openTunnel(origin: RecordingOrigin, site: PlaneSite) {
  const { promise, resolve } = Promise.withResolvers<Socket>();
  let received = '';
  origin.answer = (_request, socket) => {
    origin.tunnel(socket, (octets) => {
      received += octets;
    });
    socket.write(SWITCH);
    resolve(socket);
  };
  const client = await RawConnection.open(site.port);
  await client.send(UPGRADE);
  await client.until(() => client.hasEnded || client.received.includes('\r\n\r\n'));
  expect(client.received).toMatch(/^HTTP\/1\.1 101 /);
  client.forget();
  return { client, server: await promise, received: () => received };
}

/** Octets that do not repeat soon, from a seed. */
function noise(sizeOctets: number, seed: number): string {
  const octets = Buffer.allocUnsafe(sizeOctets);
  for (let i = 0, state = seed; i < sizeOctets; i += 1) {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    octets[i] = state >>> 16;
  }
  return octets.toString('latin1');
}
