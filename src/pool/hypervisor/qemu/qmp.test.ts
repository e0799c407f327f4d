import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ManualClock } from '../../../base/index.ts';
import { QmpClient } from './qmp.ts';

const GREETING =
  '{"QMP": {"version": {"qemu": {"major": 10}, "package": "Größe"}, "capabilities": ["oob"]}}\r\n';
const EVENT = '{"event": "NIC_RX_FILTER_CHANGED", "data": {"name": "é"}, "timestamp": {"seconds": 1}}\r\n';

let folder: string;
let path: string;
let clock: WatchedClock;
let server: Server;
let sockets: Socket[];
let clients: QmpClient[];
/** What was asked of the monitor beside `qmp_capabilities`. */
let asked: Record<string, unknown>[];
let greet: (socket: Socket) => void;
let answer: (socket: Socket, command: Record<string, unknown>) => void;

const say = (socket: Socket, ...messages: object[]) =>
  socket.write(messages.map((message) => `${JSON.stringify(message)}\r\n`).join(''));

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'orilla-qmp-'));
  path = join(folder, 'qmp');
  clock = new WatchedClock();
  [sockets, clients, asked] = [[], [], []];
  greet = (socket) => socket.write(GREETING);
  answer = (socket, { id }) => say(socket, { return: {}, id });
  server = createServer((socket) => {
    sockets.push(socket);
    let received = '';
    socket.setEncoding('utf8').on('error', () => {});
    socket.on('data', (text: string) => {
      received += text;
      const lines = received.split('\n');
      received = lines.pop() ?? '';
      for (const line of lines) {
        const command = JSON.parse(line) as Record<string, unknown>;
        if (command['execute'] === 'qmp_capabilities') say(socket, { return: {}, id: command['id'] });
        else {
          asked.push(command);
          answer(socket, command);
        }
      }
    });
    greet(socket);
  });
  server.listen(path);
  await once(server, 'listening');
});
afterEach(async () => {
  for (const client of clients) client.close();
  for (const socket of sockets) socket.destroy();
  if (server.listening) {
    server.close();
    await once(server, 'close');
  }
  rmSync(folder, { recursive: true });
});

async function connected(signal = new AbortController().signal): Promise<QmpClient> {
  const client = await QmpClient.connect(clock, path, signal);
  clients.push(client);
  return client;
}

const machineFailed = (message: RegExp) =>
  expect.objectContaining({ code: 'machine_failed', message: expect.stringMatching(message) });

describe('a command', () => {
  test('is answered with what QEMU returns, and leaves no timer', async () => {
    const client = await connected();
    answer = (socket, { id }) => say(socket, { return: { status: 'running' }, id });
    expect(await client.execute('query-status')).toEqual({ status: 'running' });
    await client.execute('human-monitor-command', { 'command-line': 'info usernet' });
    expect(asked).toMatchObject([
      { execute: 'query-status' },
      { execute: 'human-monitor-command', arguments: { 'command-line': 'info usernet' } },
    ]);
    expect(clock.pendingTimers).toBe(0);
  });

  test('gets its own answer, whatever the order of the answers and the events in between', async () => {
    const client = await connected();
    answer = (socket, command) => {
      if (asked.length < 3) return;
      for (const { id, execute } of asked.toReversed()) {
        socket.write(EVENT);
        say(socket, { return: execute, id });
      }
      say(socket, { return: 'of nobody', id: command['id'] }, { return: 'without id' });
    };
    const names = ['query-a', 'query-b', 'query-c'];
    expect(await Promise.all(names.map((name) => client.execute(name)))).toEqual(names);
  });

  test('that QEMU refuses fails with its own words, and the next one is answered', async () => {
    const client = await connected();
    answer = (socket, { id }) =>
      say(socket, { error: { class: 'CommandNotFound', desc: 'The command moo has not been found' }, id });
    await expect(client.execute('moo')).rejects.toEqual(
      machineFailed(/^QEMU: moo: The command moo has not been found$/),
    );
    answer = (socket, { id }) => say(socket, { error: null, id });
    await expect(client.execute('moo')).rejects.toEqual(machineFailed(/^QEMU: moo: refused$/));
    answer = (socket, { id }) => say(socket, { return: 7, id });
    expect(await client.execute('query')).toBe(7);
  });

  test('that is not answered is given up after 10 s, and a late answer harms nobody', async () => {
    const client = await connected();
    const reached = Promise.withResolvers<void>();
    answer = () => reached.resolve();
    const waiting = expect(client.execute('query-slow')).rejects.toEqual(
      machineFailed(/^QEMU: query-slow: no answer within 10000 ms$/),
    );
    await reached.promise;
    await clock.advance(9999);
    expect(clock.pendingTimers).toBe(1);
    await clock.advance(1);
    await waiting;
    answer = (socket, { id }) => say(socket, { return: 'late', id: asked[0]?.['id'] }, { return: 'now', id });
    expect(await client.execute('query')).toBe('now');
  });

  test('fails when the connection closes while it waits, and every later one at once', async () => {
    const client = await connected();
    answer = (socket) => {
      if (asked.length === 2) socket.end();
    };
    const closed = machineFailed(/the monitor closed the connection$/);
    const both = await Promise.allSettled([client.execute('query-a'), client.execute('query-b')]);
    expect(both).toEqual([closed, closed].map((reason) => ({ status: 'rejected', reason })));
    await expect(client.execute('query-c')).rejects.toEqual(closed);
    expect(clock.pendingTimers).toBe(0);
  });

  test('fails when the client is closed while it waits', async () => {
    const client = await connected();
    const reached = Promise.withResolvers<void>();
    answer = () => reached.resolve();
    const waiting = client.execute('query-slow');
    await reached.promise;
    client.close();
    await expect(waiting).rejects.toEqual(machineFailed(/closed the connection/));
    await expect(client.execute('query')).rejects.toEqual(machineFailed(/closed the connection/));
  });

  test.for([
    ['what is not JSON', 'moo\n', /not QMP: /],
    ['JSON that is no message', 'null\n', /not QMP: /],
    ['a line without end', 'x'.repeat(2 ** 20 + 1), /an endless line from the monitor/],
  ] as const)('fails when the monitor says %s, and the connection is ended', async ([, octets, message]) => {
    const client = await connected();
    answer = (socket) => socket.write(octets);
    await expect(client.execute('query')).rejects.toEqual(machineFailed(message));
    await expect(client.execute('query')).rejects.toEqual(machineFailed(message));
  });
});

describe('messages', () => {
  test('are understood however they are cut', async () => {
    const client = await connected();
    const returned = 'ä€😀\\n"';
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat({ max: 200 }), { maxLength: 6 }), async (cuts) => {
        let sent: Promise<void> | undefined;
        answer = (socket, { id }) => {
          const octets = Buffer.from(`${EVENT}${JSON.stringify({ return: returned, id })}\r\n${EVENT}`);
          const ends = [...cuts.filter((cut) => cut < octets.length), octets.length].sort((a, b) => a - b);
          sent = sendParts(
            socket,
            ends.map((end, index) => octets.subarray(ends[index - 1] ?? 0, end)),
          );
        };
        expect(await client.execute('query')).toBe(returned);
        await sent;
      }),
      { numRuns: 50 },
    );
  });

  test('are understood from a greeting that is cut at any octet', async () => {
    const octets = Buffer.from(`${EVENT}${GREETING}`);
    for (let cut = 1; cut < octets.length; cut += 1) {
      greet = (socket) => void sendParts(socket, [octets.subarray(0, cut), octets.subarray(cut)]);
      (await connected()).close();
    }
  });
});

describe('connecting', () => {
  test('waits for a QEMU that has not made its socket yet', async () => {
    server.close();
    await once(server, 'close');
    const connecting = connected();
    await clock.asleep.promise;
    server.listen(path);
    await once(server, 'listening');
    await clock.advance(5);
    const client = await connecting;
    expect(await client.execute('query')).toEqual({});
  });

  test('ends with the reason of an abort, while there is no socket and while there is no greeting', async () => {
    greet = () => {};
    const accepted = once(server, 'connection');
    const early = new AbortController();
    const ungreeted = connected(early.signal);
    await accepted;
    early.abort(new Error('called off'));
    await expect(ungreeted).rejects.toThrow('called off');

    server.close();
    for (const socket of sockets) socket.destroy();
    await once(server, 'close');
    const late = new AbortController();
    const waiting = connected(late.signal);
    await clock.asleep.promise;
    late.abort(new Error('called off too'));
    await expect(waiting).rejects.toThrow('called off too');
    await expect(connected(late.signal)).rejects.toThrow('called off too');
    expect(clock.pendingTimers).toBe(0);
  });

  test('fails when nobody greets within 10 s', async () => {
    greet = () => {};
    const accepted = once(server, 'connection');
    const failing = expect(connected()).rejects.toEqual(
      machineFailed(/^QEMU: no greeting from the monitor$/),
    );
    await accepted;
    await clock.advance(10_000);
    await failing;
    expect(clock.pendingTimers).toBe(0);
  });

  test('fails when the connection is closed instead, as it is to a second client', async () => {
    greet = (socket) => socket.end();
    await expect(connected()).rejects.toEqual(machineFailed(/^QEMU: the monitor closed the connection$/));
  });

  test('fails when what answers is no QEMU', async () => {
    greet = (socket) => socket.write('SSH-2.0-OpenSSH_10.0\r\n');
    await expect(connected()).rejects.toEqual(machineFailed(/^QEMU: not QMP: /));
  });
});

/** Sends parts one by one; in between, the other side gets its turn to read. */
async function sendParts(socket: Socket, parts: readonly Uint8Array[]): Promise<void> {
  for (const part of parts) {
    await new Promise<unknown>((resolve) => socket.write(part, resolve));
    for (let turn = 0; turn < 2; turn += 1) await new Promise(setImmediate);
  }
}

/** Tells when a client has found no socket and waits to try again. */
class WatchedClock extends ManualClock {
  readonly asleep = Promise.withResolvers<void>();

  override sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    const sleeping = super.sleep(delayMs, signal);
    this.asleep.resolve();
    return sleeping;
  }
}
