import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock, systemRandom } from '../../src/base/index.ts';
import type { DataPlane, Exchange, VmUpstream } from '../../src/gateway/data-plane/data-plane.ts';
import { silentLog } from '../../src/platform/telemetry/index.ts';
import { acceptEcho } from './echo-web-socket.ts';
import type { StartPlane } from './plane-site.ts';
import { exchange } from './raw-http.ts';

/** What every data plane must do with WebSockets. */
export function describeWebSocket(name: string, start: StartPlane): void {
  describe(name, () => {
    const closers: (() => Promise<unknown>)[] = [];
    let received: IncomingMessage[];
    let seen: Exchange[];
    let plane: DataPlane;
    let originPort: number;

    beforeEach(async () => {
      received = [];
      seen = [];
      originPort = await serve(acceptEcho('origin '));
      plane = await start(
        { clock: systemClock, random: systemRandom, log: silentLog, observe: (each) => seen.push(each) },
        { host: '127.0.0.1', port: 0 },
      );
      closers.push(() => plane.close());
      apply([]);
    });
    afterEach(async () => {
      for (const close of closers.splice(0).toReversed()) await close();
    });

    it('passes to the origin with the tag, whatever application it belongs to [gateway G3]', async () => {
      expect(await talk()).toBe('origin hello');
      expect(received[0]?.headers).toMatchObject({
        'bng-api-server': '192.0.2.1',
        'x-forwarded-host': host(),
      });
    });

    it('passes to a VM that is ready, and to the origin when the VM is gone [gateway G10]', async () => {
      apply([vmAt(await serve(acceptEcho('vm ')))]);
      expect(await talk()).toBe('vm hello');
      apply([vmAt(1)]);
      expect(await talk()).toBe('origin hello');
      expect(seen.map(({ servedBy, wasReplayed }) => [servedBy, wasReplayed])).toContainEqual([
        'origin',
        true,
      ]);
    });

    it('that the server refuses is over: what the client sent behind it is never taken for a request', async () => {
      apply(
        [],
        await serve((_request, socket) =>
          socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno'),
        ),
      );
      const answer = await exchange(
        plane.port,
        `${upgrade('websocket')}GET /smuggled HTTP/1.1\r\nHost: ${host()}\r\n\r\n`,
      );
      expect(answer).toMatch(/^HTTP\/1\.1 403 Forbidden\r\n/);
      expect(answer.match(/HTTP\/1\.1/g)).toHaveLength(1);
      expect(received.map(({ url }) => url)).toEqual(['/chat']);
    });

    it('is the only upgrade: any other is dropped and the request goes on as HTTP', async () => {
      const answer = await exchange(plane.port, upgrade('h2c').replace('Upgrade\r\n', 'Upgrade, close\r\n'));
      expect(answer).toContain('200 OK');
      expect(received[0]?.headers['upgrade']).toBeUndefined();
    });

    it('is told plainly where no site is, and where nobody answers', async () => {
      expect(await exchange(plane.port, upgrade('websocket').replace('127.0.0.1', 'elsewhere'))).toContain(
        '404',
      );
      apply([], 1);
      expect(await exchange(plane.port, upgrade('websocket'))).toContain('502');
    });

    it('ends when the gateway is closed', async () => {
      const socket = new WebSocket(`ws://${host()}/chat`);
      await new Promise((resolve) => socket.addEventListener('open', resolve));
      const closed = new Promise((resolve) => socket.addEventListener('close', resolve));
      await plane.close();
      await closed;
    });

    const host = () => `127.0.0.1:${plane.port}`;

    function talk(): Promise<string> {
      const socket = new WebSocket(`ws://${host()}/chat`);
      return new Promise((resolve, reject) => {
        socket.addEventListener('open', () => socket.send('hello'));
        socket.addEventListener('error', () => reject(new Error('no WebSocket')));
        socket.addEventListener('message', ({ data }) => {
          socket.addEventListener('close', () => resolve(String(data)));
          socket.close();
        });
      });
    }

    const upgrade = (protocol: string): string =>
      `GET /chat HTTP/1.1\r\nHost: ${host()}\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\n` +
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n';

    function apply(vms: VmUpstream[], port = originPort): void {
      plane.apply({
        routes: new Map([
          ['127.0.0.1', { origin: 'chat', upstream: { host: '127.0.0.1', port, isTls: false }, vms }],
        ]),
        tag: { name: 'Bng-API-Server', value: '192.0.2.1' },
        showServedBy: true,
      });
    }

    async function serve(onUpgrade: (request: IncomingMessage, socket: Duplex) => void): Promise<number> {
      const sockets = new Set<Duplex>();
      const server: Server = createServer((request, response) => {
        received.push(request);
        response.end('plain');
      });
      server.on('upgrade', (request: IncomingMessage, socket: Duplex) => {
        received.push(request);
        sockets.add(socket);
        onUpgrade(request, socket);
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      closers.push(async () => {
        for (const socket of sockets) socket.destroy();
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      });
      return (server.address() as { port: number }).port;
    }
  });
}

const vmAt = (port: number): VmUpstream => ({ name: 'chat', host: '127.0.0.1', port, isTls: false });
