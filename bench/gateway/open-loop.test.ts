import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { latenciesUntil, runOpenLoop } from './open-loop.ts';

let server: Server | undefined;
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
});

async function serve(listener: Parameters<typeof createServer>[1]): Promise<number> {
  server = createServer({}, listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

const LOOP = { host: 'a.example', path: '/1k', requestsPerSecond: 200, durationMs: 100, drainMs: 5000 };

describe('an open loop', () => {
  test('asks each request once, over the connections that it has', async () => {
    const sockets = new Set<unknown>();
    const asked: string[] = [];
    const port = await serve((request, response) => {
      sockets.add(request.socket);
      asked.push(`${request.headers.host}${request.url}`);
      response.end('good');
    });
    const result = await runOpenLoop({ ...LOOP, port, connections: 3 });
    expect(result).toMatchObject({ requests: 20, unanswered: 0 });
    expect(asked).toEqual(Array.from({ length: 20 }, () => 'a.example/1k'));
    expect(sockets.size).toBeLessThanOrEqual(3);
    expect(result.p50Ms).toBeLessThanOrEqual(result.p99Ms);
  });

  test('goes by its schedule, not by the answers: who waits for a connection waits from when he was due', async () => {
    const held: (() => void)[] = [];
    const port = await serve((_request, response) => {
      held.push(() => response.end('late'));
    });
    const result = await runOpenLoop({ ...LOOP, port, connections: 1, drainMs: 50 });
    // One request is on the only connection, the others never were.
    expect(held).toHaveLength(1);
    expect(result).toMatchObject({ requests: 20, unanswered: 20 });
    expect(result.maxMs).toBeGreaterThanOrEqual(150);
  });

  test('fails when the server answers with an error', async () => {
    const port = await serve((_request, response) => response.writeHead(502).end());
    await expect(runOpenLoop({ ...LOOP, port, connections: 1 })).rejects.toThrow(/does not expect/);
  });

  test('fails when the server closes a connection', async () => {
    const port = await serve((request) => request.socket.destroy());
    await expect(runOpenLoop({ ...LOOP, port, connections: 1 })).rejects.toThrow(/closed|reset|ECONN/i);
  });
});

test('requests without an answer count as what they are at the end', () => {
  expect(latenciesUntil(Float64Array.of(3, -1, -1), 10, 100)).toEqual([3, 90, 80]);
});
