import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/base/index.ts';
import { type PlaneSite, type StartPlane, startPlaneSite } from './plane-site.ts';
import { RawConnection } from './raw-connection.ts';
import { answerTarget, RecordingOrigin } from './recording-origin.ts';
import { statusOf } from './strict-http.ts';
import { readTranscript } from './transcript.ts';
import { untilQuiet } from './until-quiet.ts';

/** More than all buffers of two connections over the loopback hold. */
const FLOOD_OCTETS = 300_000_000;
const HELD_LIMIT_OCTETS = 64_000_000;
/** A peer that nothing has moved for so many turns of the event loop is held back. */
const HELD_TURNS = 200;

const GET = 'GET /case HTTP/1.1\r\nHost: photos.example\r\n\r\n';
const upload = (sizeOctets: number) =>
  `POST /upload HTTP/1.1\r\nHost: photos.example\r\nContent-Length: ${sizeOctets}\r\n\r\n`;

/**
 * What a data plane does about peers that are slow, silent or without end. Its time is handed in and stands still but for
 * what the tests let pass.
 *
 * @param left titles of tests that the plane is known to fail, with the reason.
 */
export function describeSlowPeers(
  name: string,
  start: StartPlane,
  left: Readonly<Record<string, string>> = {},
): void {
  const test = (title: string, run: (day: Day) => Promise<void>) =>
    it.skipIf(left[title] !== undefined)(title, { timeout: 60_000 }, async () => {
      const clock = new ManualClock(1_000_000);
      await using origin = await RecordingOrigin.start();
      await using site = await startPlaneSite(start, origin.port, { clock });
      await run({ clock, origin, site });
    });

  describe(`${name} and slow peers`, () => {
    test('a head that drips in is not waited for longer than 30 s', async ({ clock, origin, site }) => {
      using client = await RawConnection.open(site.port);
      await client.send('GET /case HTTP/1.1\r\nHost: photos.example\r\nX: ');
      for (let second = 0; second < 31 && !client.hasEnded; second += 1) {
        await client.send('y');
        await untilTaken(site);
        await clock.advance(1000);
        await untilTaken(site);
      }
      await client.untilEnd();
      const { answers } = readTranscript(client.received, [], true);
      expect([[], [408]]).toContainEqual(answers.map(statusOf));
      expect(origin.requests).toEqual([]);
    });

    test('a body that drips in is not waited for longer than two minutes', async ({
      clock,
      origin,
      site,
    }) => {
      using client = await RawConnection.open(site.port);
      await client.send(upload(1_000_000), 'x');
      await origin.until(() => origin.openConnections === 1);
      for (let second = 0; second < 121 && !client.hasEnded; second += 1) {
        await client.send('x');
        await untilTaken(site);
        await clock.advance(1000);
        await untilTaken(site);
      }
      await client.untilEnd();
      await origin.untilNothingPartial();
      expect(origin.requests).toEqual([]);
    });

    test('an upload that is slow but goes on is let through', async ({ clock, origin, site }) => {
      using client = await RawConnection.open(site.port);
      await client.send(upload(120_000));
      for (let sent = 0; sent < 120_000; sent += 4000) {
        await client.send('x'.repeat(4000));
        await untilTaken(site);
        await clock.advance(10_000);
      }
      await client.until(() => client.received.endsWith('POST /upload\n'));
      expect(origin.requests.map(({ body }) => body.length)).toEqual([120_000]);
    });

    test('a connection that nobody uses is ended after two minutes at the latest', async ({
      clock,
      site,
    }) => {
      using fresh = await RawConnection.open(site.port);
      using used = await RawConnection.open(site.port);
      await used.send(GET);
      await used.until(() => used.received.endsWith('GET /case\n'));
      await clock.advance(121_000);
      await Promise.all([fresh.untilEnd(), used.untilEnd()]);
    });

    test('a client that never reads holds its origin back, and is given up in time', async ({
      clock,
      origin,
      site,
    }) => {
      const flood = floodOn(origin);
      using client = await RawConnection.open(site.port);
      client.pause();
      await client.send(GET);
      await origin.until(() => flood.hasBegun);
      await untilQuiet(() => flood.sentOctets, HELD_TURNS);
      expect(flood.sentOctets).toBeLessThan(HELD_LIMIT_OCTETS);
      await clock.advance(181_000);
      await origin.until(() => origin.openConnections === 0);
    });

    test('a client that reads again after a while gets the rest', async ({ origin, site }) => {
      const sizeOctets = 40_000_000;
      origin.answer = (_request, socket) => {
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${sizeOctets}\r\n\r\n`);
        socket.write('x'.repeat(sizeOctets));
      };
      using client = await RawConnection.open(site.port);
      client.pause();
      await client.send(GET);
      await origin.until(() => origin.requests.length === 1);
      await untilQuiet(() => origin.openConnections, HELD_TURNS);
      client.countOnly();
      client.resume();
      await client.until(() => client.receivedOctets >= sizeOctets);
    });

    test('an origin that never stops ends when its client leaves', async ({ origin, site }) => {
      const flood = floodOn(origin);
      const client = await RawConnection.open(site.port);
      client.countOnly();
      await client.send(GET);
      await client.until(() => client.receivedOctets > 20_000_000);
      client[Symbol.dispose]();
      await origin.until(() => origin.openConnections === 0);
      expect(flood.sentOctets).toBeLessThan(20_000_000 + HELD_LIMIT_OCTETS);
    });

    test('an origin that never reads holds its client back, and is given up in time', async ({
      clock,
      origin,
      site,
    }) => {
      origin.greet = (socket) => void socket.pause();
      using client = await RawConnection.open(site.port);
      await client.send(upload(FLOOD_OCTETS));
      const megabyte = 'x'.repeat(1_000_000);
      let sentOctets = 0;
      const pour = async () => {
        while (sentOctets < FLOOD_OCTETS && !client.hasEnded) {
          await client.sendAll(megabyte);
          sentOctets += megabyte.length;
        }
      };
      const pouring = pour();
      await untilQuiet(() => sentOctets, HELD_TURNS);
      expect(sentOctets).toBeLessThan(HELD_LIMIT_OCTETS);
      await clock.advance(181_000);
      await client.untilEnd();
      await pouring;
      expect(readTranscript(client.received, ['POST'], true).answers.map(statusOf)).toEqual([504]);
    });

    test('a client that asks without reading is held back too', async ({ origin, site }) => {
      const body = 'x'.repeat(10_000);
      origin.answer = (_request, socket) =>
        void socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
      using client = await RawConnection.open(site.port);
      client.pause();
      await client.send(GET.repeat(20_000));
      await origin.until(() => origin.requests.length > 0);
      await untilQuiet(() => origin.requests.length, HELD_TURNS);
      // 20,000 answers would be 200 MB.
      expect(origin.requests.length * body.length).toBeLessThan(HELD_LIMIT_OCTETS);
    });

    test('a client that leaves in the middle of its upload breaks the request off at the origin', async ({
      origin,
      site,
    }) => {
      const client = await RawConnection.open(site.port);
      await client.send(upload(1_000_000), 'x'.repeat(300_000));
      await origin.until(() => origin.openConnections === 1);
      client[Symbol.dispose]();
      await origin.untilNothingPartial();
      expect(origin.requests).toEqual([]);
    });
  });
}

interface Day {
  readonly clock: ManualClock;
  readonly origin: RecordingOrigin;
  readonly site: PlaneSite;
}

/** Whatever was sent before has been taken in when the gateway answers this, of itself. */
async function untilTaken({ port }: PlaneSite): Promise<void> {
  using client = await RawConnection.open(port);
  await client.send('GET / HTTP/1.1\r\nHost: nowhere.example\r\nConnection: close\r\n\r\n');
  await client.untilEnd();
}

/** Makes the origin answer with chunks, as many as it is let. */
function floodOn(origin: RecordingOrigin): { hasBegun: boolean; sentOctets: number } {
  const flood = { hasBegun: false, sentOctets: 0 };
  const size = 1_000_000;
  const chunk = `${size.toString(16)}\r\n${'x'.repeat(size)}\r\n`;
  origin.answer = (request, socket) => {
    if (request.target !== '/case') {
      answerTarget(request, socket);
      return;
    }
    flood.hasBegun = true;
    socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
    const pour = () => {
      while (!socket.destroyed && flood.sentOctets < FLOOD_OCTETS) {
        flood.sentOctets += size;
        if (!socket.write(chunk)) {
          socket.once('drain', pour);
          return;
        }
      }
    };
    pour();
  };
  return flood;
}
