import { createServer, type IncomingMessage, type RequestListener, request, type Server } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ManualClock, systemClock, systemRandom } from '../../src/base/index.ts';
import type {
  DataPlane,
  Exchange,
  RouteSnapshot,
  VmUpstream,
} from '../../src/gateway/data-plane/data-plane.ts';
import { sharedTagKey } from '../../src/gateway/tag-key.ts';
import { silentLog } from '../../src/platform/telemetry/index.ts';
import { type SignatureVerdict, verifyRequest } from '../../src/trust/index.ts';
import { ask as askServer } from './ask.ts';
import type { StartPlane } from './plane-site.ts';

/** What every data plane must do with the requests of users. */
export function describeDataPlane(title: string, start: StartPlane): void {
  describe(title, () => {
    const closers: (() => Promise<unknown>)[] = [];
    afterEach(async () => {
      for (const close of closers.splice(0).toReversed()) await close();
    });

    /** What the origin got, in order. */
    let received: { method: string; url: string; raw: string[]; body: string }[];
    let seen: Exchange[];
    let originPort: number;
    let plane: DataPlane;

    beforeEach(async () => {
      received = [];
      seen = [];
      originPort = await serve((message, response) => {
        void readAll(message).then(
          (body) => {
            const { method = '', url = '', rawHeaders: raw } = message;
            received.push({ method, url, raw, body });
            response.writeHead(
              200,
              'Fine',
              [
                ['X-Origin', 'yes'],
                ['Set-Cookie', 'a'],
                ['Set-Cookie', 'b'],
              ].flat(),
            );
            response.end(`origin ${message.url}`);
          },
          () => undefined,
        );
      });
      plane = await startPlane();
      plane.apply(snapshot([]));
    });

    it('forwards to the origin with the tag, and the answer back unchanged [gateway G1] [gateway G3]', async () => {
      const answer = await ask('/a?b=c');
      expect(answer).toMatchObject({ status: 200, body: 'origin /a?b=c' });
      expect(answer.headers).toMatchObject({
        'x-origin': 'yes',
        'set-cookie': ['a', 'b'],
        'orilla-served-by': 'origin',
      });
      const raw = received[0]?.raw ?? [];
      expect(raw[raw.indexOf('Bng-API-URL') + 1]).toBe('127.0.0.1:8081/version1/virtualmachine');
      expect(raw[raw.indexOf('Host') + 1]).toBe('photos.example');
    });

    it('signs the tag for an origin that can verify it, so that the origin knows it is whole [gateway G2]', async () => {
      const key = sharedTagKey('a-token-that-both-sides-hold');
      const { routes, ...rest } = snapshot([]);
      const signed = [...routes].map(([host, route]) => [host, { ...route, signingKey: key }] as const);
      plane.apply({ ...rest, routes: new Map(signed) });
      const verdicts: SignatureVerdict[] = [];
      for (const path of ['/a?b=c', '/']) {
        await ask(path, { host: 'Photos.Example:80' });
        const { raw = [], url = '' } = received.at(-1) ?? {};
        const fields: Record<string, string> = {};
        for (let i = 0; i + 1 < raw.length; i += 2) fields[(raw[i] ?? '').toLowerCase()] = raw[i + 1] ?? '';
        const pathOnly = url.replace(/\?.*/, '');
        verdicts.push(
          verifyRequest(
            { method: 'GET', authority: 'photos.example', path: pathOnly, fields },
            {
              keyOf: () => key,
              fieldNames: ['bng-api-url'],
              nowS: Math.floor(Date.now() / 1000),
              maxAgeS: 60,
            },
          ),
        );
      }
      expect(verdicts).toMatchObject([{ isValid: true }, { isValid: true }]);
      expect(new Set(verdicts.map((each) => each.isValid && each.nonce)).size).toBe(2);
    });

    it('sends requests to a VM that is ready, and nothing to the origin [gateway G10]', async () => {
      plane.apply(snapshot([await vm((message, response) => response.end(`vm ${message.url}`))]));
      const answer = await ask('/x');
      expect(answer).toMatchObject({ status: 200, body: 'vm /x' });
      expect(answer.headers['orilla-served-by']).toBe('vm/photos');
      expect(received).toEqual([]);
      await untilSeen(1);
      expect(seen[0]).toMatchObject({ servedBy: 'vm', originBytes: 0, wasReplayed: false });
      expect(seen[0]?.vmBytes).toBeGreaterThan(100);
    });

    it('passes the identifier on with which the origin answers: body, header field or redirect [gateway G9]', async () => {
      const forms: [number, Record<string, string>, string][] = [
        [200, {}, 'vmip = 33.1.1.1; vm-host-name=vm33.isp1.example'],
        [200, { 'Vm-Host-Name': 'vm33.isp1.example' }, 'a page'],
        [302, { Location: 'http://vm33.isp1.example' }, ''],
      ];
      for (const [status, headers, body] of forms) {
        const port = await serve((_message, response) => response.writeHead(status, headers).end(body));
        plane.apply(snapshot([], { port }));
        const answer = await ask('/');
        expect(answer).toMatchObject({ status, body });
        for (const [name, value] of Object.entries(headers))
          expect(answer.headers[name.toLowerCase()]).toBe(value);
      }
    });

    it('names the VM that runs here to the origin, and passes its answer with that name on [gateway G12] [gateway G15]', async () => {
      const port = await serve((message, response) => {
        response.setHeader('Vm-Host-Name', String(message.headers['bng-assigned-server']));
        response.end();
      });
      const elsewhere = {
        ...(await vm((_message, response) => response.end('vm'))),
        scope: { paths: ['/app'] },
      };
      const { routes, ...rest } = snapshot([elsewhere], { port });
      const assignedServer = { value: 'vm33.isp1.example' };
      plane.apply({
        ...rest,
        routes: new Map(Array.from(routes, ([host, route]) => [host, { ...route, assignedServer }])),
      });
      expect((await ask('/page')).headers['vm-host-name']).toBe('vm33.isp1.example');
      expect(await ask('/app')).toMatchObject({ body: 'vm' });
    });

    it.for(['/half-small', '/half'])(
      'answers from the origin when the VM breaks off before a byte was sent on: %s',
      async (path) => {
        plane.apply(
          snapshot([
            await vm((_message, response) => {
              response.writeHead(200, { 'content-length': path === '/half' ? 1_000_000 : 100 });
              if (path === '/half-small') response.write('x');
              response.flushHeaders();
              response.destroy();
            }),
          ]),
        );
        expect(await ask(path)).toMatchObject({ status: 200, body: `origin ${path}` });
        await untilSeen(1);
        expect(seen[0]).toMatchObject({ servedBy: 'origin', wasReplayed: true });
      },
    );

    it('does not take the end of a dying VM for the end of its answer', async () => {
      // Without a length, a body ends with its connection; so does a VM.
      plane.apply(snapshot([await bareVm('HTTP/1.1 200 OK\r\n\r\nhalf of the ans', { dies: true })]));
      expect(await ask('/cgi')).toMatchObject({ status: 200, body: 'origin /cgi' });

      plane.apply(snapshot([await bareVm('HTTP/1.1 200 OK\r\n\r\nthe whole answer', { dies: false })]));
      expect(await ask('/cgi')).toMatchObject({ status: 200, body: 'the whole answer' });
    });

    it('breaks off a long answer without a length when the VM dies in it', async () => {
      const long = `HTTP/1.1 200 OK\r\n\r\n${'x'.repeat(1_000_000)}`;
      plane.apply(snapshot([await bareVm(long, { dies: true })]));
      await expect(ask('/stream')).rejects.toThrow();
      await untilSeen(1);
      expect(seen[0]?.failure).toBe('the VM ended in the middle of its answer');
    });

    it('answers from the origin when the VM is gone, also a POST with a body that was not sent', async () => {
      plane.apply(snapshot([{ name: 'photos', host: '127.0.0.1', port: await closedPort(), isTls: false }]));
      expect(await ask('/form', { method: 'POST', body: 'a=1' })).toMatchObject({
        status: 200,
        body: 'origin /form',
      });
      expect(received[0]).toMatchObject({ method: 'POST', body: 'a=1' });
      const long = 'x'.repeat(500_000);
      expect(await ask('/upload', { method: 'POST', body: long, chunked: true })).toMatchObject({
        status: 200,
      });
      expect(received[1]?.body).toBe(long);
    });

    it('does not send a POST twice: the VM may have done it', async () => {
      plane.apply(snapshot([await vm((message) => message.socket.destroy())]));
      expect(await ask('/order', { method: 'POST', body: 'x' })).toMatchObject({ status: 502 });
      expect(received).toEqual([]);
      expect(await ask('/put', { method: 'PUT', body: 'x' })).toMatchObject({ body: 'origin /put' });
    });

    it('asks the origin as soon as a silent VM is gone, although no connection to it has ended', async () => {
      const clock = new ManualClock();
      const entered = Promise.withResolvers<void>();
      const silent = createTcpServer(() => entered.resolve());
      await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
      const slow = await startPlane(clock);
      slow.apply(snapshot([{ name: 'photos', host: '127.0.0.1', port: portOf(silent), isTls: false }]));
      const answer = ask('/gone', { port: slow.port });
      await entered.promise;
      silent.close();
      await clock.advance(1000);
      expect(await answer).toMatchObject({ status: 200, body: 'origin /gone' });
    });

    it('answers from the origin when the VM is silent', async () => {
      const clock = new ManualClock();
      const silent = Promise.withResolvers<void>();
      const slow = await startPlane(clock);
      slow.apply(snapshot([await vm(() => silent.resolve())]));
      const answer = ask('/slow', { port: slow.port });
      await silent.promise;
      await clock.advance(10_000);
      expect(await answer).toMatchObject({ status: 200, body: 'origin /slow' });
    });

    it('says 504 when the origin is silent, and 502 when it is not there', async () => {
      const clock = new ManualClock();
      const silent = Promise.withResolvers<void>();
      const slow = await startPlane(clock);
      slow.apply(snapshot([], { port: await serve(() => silent.resolve()) }));
      const answer = ask('/', { port: slow.port });
      await silent.promise;
      await clock.advance(60_000);
      expect(await answer).toMatchObject({ status: 504, body: 'the origin photos did not answer in time\n' });
      plane.apply(snapshot([], { port: await closedPort() }));
      expect(await ask('/')).toMatchObject({ status: 502, body: 'the origin photos cannot be reached\n' });
    });

    it('breaks the connection when the origin breaks off in the middle: the answer must not look whole', async () => {
      const port = await serve((_message, response) => {
        response.writeHead(200);
        response.write('the beginning', () => response.destroy());
      });
      plane.apply(snapshot([], { port }));
      await expect(ask('/')).rejects.toThrow();
      await untilSeen(1);
      expect(seen[0]?.failure).toBeDefined();
    });

    it('streams bodies of any size both ways without loss', async () => {
      const body = Buffer.alloc(3_000_000, 'abcdefghij');
      const port = await serve((message, response) => void message.pipe(response));
      plane.apply(snapshot([], { port }));
      const answer = await ask('/', { method: 'POST', body: body.toString(), chunked: true });
      expect(answer.body === body.toString()).toBe(true);
    });

    it('serves a VM under its own name, and lets the origin answer there under the name that it knows [gateway G8]', async () => {
      const routes = new Map([...snapshot([]).routes]);
      const upstream = { host: '127.0.0.1', port: originPort, isTls: false };
      routes.set('photos.edge.example', {
        origin: 'photos',
        upstream,
        originHost: 'photos.example',
        vms: [],
      });
      plane.apply({ ...snapshot([]), routes });
      await ask('/', { host: 'photos.edge.example' });
      const raw = received[0]?.raw ?? [];
      expect(raw[raw.indexOf('Host') + 1]).toBe('photos.example');
      expect(raw[raw.indexOf('X-Forwarded-Host') + 1]).toBe('photos.edge.example');
    });

    it('says nothing about who served when that is switched off', async () => {
      plane.apply({ ...snapshot([]), showServedBy: false });
      expect((await ask('/')).headers['orilla-served-by']).toBeUndefined();
    });

    it('lets requests under way end when it is closed, and takes no new ones', async () => {
      const release = Promise.withResolvers<void>();
      const entered = Promise.withResolvers<void>();
      const port = await serve((_message, response) => {
        entered.resolve();
        void release.promise.then(() => response.end('late'));
      });
      plane.apply(snapshot([], { port }));
      const answer = ask('/');
      await entered.promise;
      const closing = plane.close();
      await expect(ask('/')).rejects.toThrow();
      release.resolve();
      expect(await answer).toMatchObject({ status: 200, body: 'late' });
      await closing;
    });

    it('stops asking the upstream when the client goes away', async () => {
      const entered = Promise.withResolvers<void>();
      const gone = Promise.withResolvers<void>();
      const port = await serve((message) => {
        message.socket.once('close', gone.resolve);
        entered.resolve();
      });
      plane.apply(snapshot([], { port }));
      const client = request({ host: '127.0.0.1', port: plane.port, headers: { Host: 'photos.example' } });
      client.on('error', () => undefined);
      client.end();
      await entered.promise;
      client.destroy();
      await gone.promise;
    });

    async function startPlane(clock: ManualClock | typeof systemClock = systemClock) {
      const started = await start(
        {
          clock,
          random: systemRandom,
          log: silentLog,
          observe: (each) => {
            seen.push(each);
            for (const wake of waiting.splice(0)) wake();
          },
        },
        { host: '127.0.0.1', port: 0 },
      );
      closers.push(() => started.close());
      return started;
    }

    const waiting: (() => void)[] = [];
    async function untilSeen(count: number): Promise<void> {
      while (seen.length < count) await new Promise<void>((resolve) => waiting.push(resolve));
    }

    function snapshot(vms: VmUpstream[], origin: { port?: number } = {}): RouteSnapshot {
      const upstream = { host: '127.0.0.1', port: origin.port ?? originPort, isTls: false };
      return {
        routes: new Map([['photos.example', { origin: 'photos', upstream, vms }]]),
        tag: { name: 'Bng-API-URL', value: '127.0.0.1:8081/version1/virtualmachine' },
        showServedBy: true,
      };
    }

    async function serve(listener: RequestListener): Promise<number> {
      const server: Server = createServer(listener);
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      closers.push(async () => {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      });
      return portOf(server);
    }

    async function vm(listener: RequestListener): Promise<VmUpstream> {
      return { name: 'photos', host: '127.0.0.1', port: await serve(listener), isTls: false };
    }

    /** A VM that answers with these octets and ends the connection; one that dies takes no other after it. */
    async function bareVm(answer: string, { dies }: { dies: boolean }): Promise<VmUpstream> {
      const server = createTcpServer((socket) => {
        socket.once('data', () => {
          if (dies) server.close();
          socket.end(answer);
        });
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      closers.push(() => new Promise((resolve) => server.close(resolve)));
      return { name: 'photos', host: '127.0.0.1', port: portOf(server), isTls: false };
    }

    /** A port at which nobody listens. */
    async function closedPort(): Promise<number> {
      const server = createTcpServer();
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      const port = portOf(server);
      await new Promise((resolve) => server.close(resolve));
      return port;
    }

    function ask(
      path: string,
      options: { method?: string; body?: string; chunked?: boolean; host?: string; port?: number } = {},
    ) {
      const { host = 'photos.example', port = plane.port, chunked, ...question } = options;
      const headers = chunked ? { 'transfer-encoding': 'chunked' } : {};
      return askServer(port, host, path, { ...question, headers });
    }
  });
}

function portOf(server: { address(): unknown }): number {
  return (server.address() as { port: number }).port;
}

async function readAll(message: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of message) text += String(chunk);
  return text;
}
