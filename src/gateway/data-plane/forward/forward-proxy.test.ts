import { generateKeyPairSync } from 'node:crypto';
import { createServer as createHttpServer, type IncomingMessage, type RequestListener } from 'node:http';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RawConnection } from '../../../../test/support/raw-connection.ts';
import { exchange } from '../../../../test/support/raw-http.ts';
import { untilQuiet } from '../../../../test/support/until-quiet.ts';
import { systemClock, systemRandom } from '../../../base/index.ts';
import { silentLog } from '../../../platform/telemetry/index.ts';
import { verifyRequest } from '../../../trust/index.ts';
import { gatewayKey, gatewayVerifyingKey } from '../../tag-key.ts';
import type { Exchange, ForeignRules, RouteSnapshot } from '../data-plane.ts';
import { RawDataPlane } from '../raw-data-plane.ts';

const key = gatewayKey(generateKeyPairSync('ed25519').privateKey);

const closers: (() => Promise<unknown> | void)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

/** What the servers got: who was asked for what. */
let received: IncomingMessage[];
let seen: Exchange[];
let asked: string[];
let addresses: Record<string, string[]>;
let plane: RawDataPlane;
let proxyPort: number;
let serverPort: number;

beforeEach(async () => {
  received = [];
  seen = [];
  asked = [];
  serverPort = await serveHttp((message, response) => {
    received.push(message);
    response.end(`${message.headers.host}${message.url}`);
  });
  addresses = { 'elsewhere.example': ['127.0.0.1'], 'intern.example': ['10.1.2.3'] };
  plane = await RawDataPlane.start(
    {
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
      observe: (each) => seen.push(each),
      askName: async (name) => {
        asked.push(name);
        const found = addresses[name];
        if (!found) throw new Error('ENOTFOUND');
        return { addresses: found, lifetimeMs: 60_000 };
      },
    },
    { host: '127.0.0.1', port: 0 },
    { foreign: { forwardProxy: { host: '127.0.0.1', port: 0 } } },
  );
  closers.push(() => plane.close());
  proxyPort = plane.portOf('forwardProxy');
  allow(['*.example', `*.example:${serverPort}`]);
});

describe('the forward proxy', () => {
  it('asks a host that is on its list, with the tag, signed by the gateway’s own key [gateway G1] [gateway G3]', async () => {
    const answer = await get(`http://elsewhere.example:${serverPort}/a?b=c`);
    expect(statusOf(answer)).toBe(200);
    expect(answer).toContain(`elsewhere.example:${serverPort}/a?b=c`);
    const fields = headersOf(received[0]);
    expect(fields['bng-api-url']).toBe('api.example/version1/virtualmachine');
    const verdict = verifyRequest(
      { method: 'GET', authority: `elsewhere.example:${serverPort}`, path: '/a', fields },
      {
        keyOf: () => gatewayVerifyingKey(key.publicJwk),
        fieldNames: ['bng-api-url'],
        nowS: Math.floor(Date.now() / 1000),
        maxAgeS: 60,
      },
    );
    expect(verdict).toMatchObject({ isValid: true });
    expect(seen[0]).toMatchObject({ origin: '(forward)', servedBy: 'origin', status: 200 });
  });

  it('takes away what speaks of the client: credentials for the proxy, forged tags, its address', async () => {
    await exchange(
      proxyPort,
      `POST http://elsewhere.example:${serverPort}/ HTTP/1.1\r\nHost: elsewhere.example:${serverPort}\r\n` +
        'Proxy-Authorization: Basic c2VjcmV0\r\nProxy-Connection: keep-alive\r\nX-Forwarded-For: 1.2.3.4\r\n' +
        'Bng-API-URL: forged\r\nX-Kept: yes\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok',
    );
    const fields = headersOf(received[0]);
    expect(Object.keys(fields).toSorted()).toEqual([
      'bng-api-url',
      'content-length',
      'host',
      'signature',
      'signature-input',
      'via',
      'x-kept',
    ]);
    expect(fields['bng-api-url']).not.toBe('forged');
  });

  it('serves a site of this gateway by its route, without asking for the name [gateway G10]', async () => {
    const vmPort = await serveHttp((_message, response) => response.end('from the VM'));
    const vms = [{ name: 'photos', host: '127.0.0.1', port: vmPort, isTls: false }];
    const upstream = { host: '127.0.0.1', port: serverPort, isTls: false };
    allow([], { routes: new Map([['photos.example', { origin: 'photos', upstream, vms }]]) });
    expect(await get('http://photos.example/x')).toContain('from the VM');
    expect(asked).toEqual([]);
    expect(seen[0]).toMatchObject({ origin: 'photos', servedBy: 'vm' });
  });

  it('passes octets through for CONNECT, both ways, also those that come with the request, and each half by itself', async () => {
    const { port, untilReceived } = await serveTcp((socket) => {
      socket.on('end', () => socket.end('all of it'));
      socket.on('data', (octets) => socket.write(octets));
    });
    allow([`elsewhere.example:${port}`]);
    using client = await RawConnection.open(proxyPort);
    await client.send(`CONNECT elsewhere.example:${port} HTTP/1.1\r\nHost: elsewhere.example\r\n\r\nfirst`);
    await client.until(() => client.received.endsWith('first'));
    expect(client.received).toBe('HTTP/1.1 200 Connection established\r\n\r\nfirst');
    const long = 'x'.repeat(3_000_000);
    await client.send(long);
    await untilReceived(5 + long.length);
    await client.until(() => client.received.length >= long.length);
    client.end();
    await client.untilEnd();
    expect(client.received.endsWith('all of it')).toBe(true);
    expect(client.received).toHaveLength(39 + 5 + long.length + 9);
    expect(seen).toMatchObject([{ origin: '(forward)', status: 200 }]);
  });

  it('holds a client back that sends more than the server takes, and goes on when it takes it', async () => {
    let server: Socket | undefined;
    const { port, untilReceived } = await serveTcp((socket) => {
      server = socket.pause();
    });
    allow([`elsewhere.example:${port}`]);
    const client = connect(proxyPort, '127.0.0.1');
    closers.push(() => void client.destroy());
    client.write(`CONNECT elsewhere.example:${port} HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n`);
    await new Promise((resolve) => client.once('data', resolve));
    const piece = Buffer.alloc(2 ** 20, 'y');
    const [pieces, heldAtLeast] = [64, 16];
    for (let i = 0; i < pieces; i += 1) client.write(piece);
    await untilQuiet(() => client.writableLength, 200);
    expect(client.writableLength).toBeGreaterThan(heldAtLeast * piece.length);
    server?.resume();
    await untilReceived(pieces * piece.length);
  });

  it.for([
    ['a host that is not on the list', 'GET http://other.test/', 403],
    ['a port that is not on the list', 'GET http://elsewhere.example:25/', 403],
    ['another port for CONNECT than 443', 'CONNECT elsewhere.example:25', 403],
    ['a port that is none', 'CONNECT elsewhere.example:0', 403],
    ['a port that is none either', 'CONNECT elsewhere.example:65536', 400],
    ['CONNECT without a port', 'CONNECT elsewhere.example', 400],
    ['CONNECT to what is no host', 'CONNECT a/b:443', 400],
    ['a request that is for no proxy', 'GET /', 400],
    ['OPTIONS for nobody', 'OPTIONS *', 400],
    ['https without CONNECT', 'GET https://elsewhere.example/', 400],
    ['a user’s name in the URL', 'GET http://user@elsewhere.example/', 400],
    ['a name without an address', 'GET http://nowhere.example/', 502],
  ] as const)('refuses %s', async ([, line, status]) => {
    allow(['*.example']);
    expect(statusOf(await ask(line))).toBe(status);
    expect(received).toEqual([]);
  });

  it.for([
    ['this machine', 'GET http://127.0.0.1/'],
    ['this machine, by CONNECT', 'CONNECT 127.0.0.1:443'],
    ['this machine, by IPv6', 'GET http://[::1]/'],
    ['this machine, by IPv4 in IPv6', 'GET http://[::ffff:127.0.0.1]/'],
    ['what gives a cloud machine’s secrets', 'GET http://169.254.169.254/'],
    ['a name that leads into the operator’s network', 'GET http://intern.example/'],
    ['a name that leads there, by CONNECT', 'CONNECT intern.example:443'],
  ] as const)('does not ask %s, also when every host is listed', async ([, line]) => {
    allow(['*'], {}, { privateNetworks: [] });
    expect(statusOf(await ask(line))).toBe(403);
  });

  it('asks nobody while nothing is listed', async () => {
    allow([]);
    for (const line of [`GET http://elsewhere.example:${serverPort}/`, 'CONNECT elsewhere.example:443']) {
      expect(statusOf(await ask(line))).toBe(403);
    }
    expect(asked).toEqual([]);
  });

  it('is for its clients only', async () => {
    allow(['*.example', `*.example:${serverPort}`], {}, { clients: ['192.0.2.0/24'] });
    expect(statusOf(await get(`http://elsewhere.example:${serverPort}/`))).toBe(403);
    allow(['*.example', `*.example:${serverPort}`], {}, { clients: ['127.0.0.1'] });
    expect(statusOf(await get(`http://elsewhere.example:${serverPort}/`))).toBe(200);
  });

  it('asks an address of the operator’s network when the list has the address itself, or its network is named', async () => {
    allow([`127.0.0.1:${serverPort}`], {}, { privateNetworks: [] });
    expect(statusOf(await get(`http://127.0.0.1:${serverPort}/`))).toBe(200);
    expect(statusOf(await get(`http://elsewhere.example:${serverPort}/`))).toBe(403);
    allow([`elsewhere.example:${serverPort}`], {}, { privateNetworks: [] });
    expect(statusOf(await get(`http://elsewhere.example:${serverPort}/`))).toBe(403);
  });

  it('connects to the address that it has checked, however the name is answered the second time', async () => {
    const url = `http://elsewhere.example:${serverPort}/`;
    addresses['elsewhere.example'] = ['10.9.9.9', '127.0.0.1', '169.254.169.254'];
    expect(statusOf(await get(url))).toBe(200);
    addresses['elsewhere.example'] = ['169.254.169.254'];
    expect(statusOf(await get(url))).toBe(200);
    expect(asked).toEqual(['elsewhere.example']);
  });

  it('does not ask itself round and round', async () => {
    allow([`*.example:${serverPort}`, `*.example:${proxyPort}`]);
    await get(`http://elsewhere.example:${serverPort}/`);
    const via = headersOf(received[0])['via'] ?? '';
    const answer = await exchange(
      proxyPort,
      `GET http://elsewhere.example:${serverPort}/ HTTP/1.1\r\nHost: x\r\nVia: ${via}\r\nConnection: close\r\n\r\n`,
    );
    expect(statusOf(answer)).toBe(508);
  });

  it('goes on with the next request of a connection after an answer and after a refusal', async () => {
    const url = `http://elsewhere.example:${serverPort}`;
    const answer = await exchange(
      proxyPort,
      `GET ${url}/1 HTTP/1.1\r\nHost: a\r\n\r\nGET http://other.test/ HTTP/1.1\r\nHost: a\r\n\r\n` +
        `GET ${url}/2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
    );
    expect(Array.from(answer.matchAll(/HTTP\/1\.1 (\d+)/g), ([, status]) => status)).toEqual([
      '200',
      '403',
      '200',
    ]);
  });

  it('does not take what stands behind a refused CONNECT for a request', async () => {
    const answer = await exchange(
      proxyPort,
      `CONNECT other.test:443 HTTP/1.1\r\nHost: a\r\n\r\nGET http://elsewhere.example:${serverPort}/ HTTP/1.1\r\nHost: a\r\n\r\n`,
    );
    expect(statusOf(answer)).toBe(403);
    expect(received).toEqual([]);
  });
});

function allow(
  hosts: readonly string[],
  more: Partial<RouteSnapshot> = {},
  rules: Partial<ForeignRules> = {},
): void {
  plane.apply({
    routes: new Map(),
    tag: { name: 'Bng-API-URL', value: 'api.example/version1/virtualmachine' },
    showServedBy: false,
    gatewayKey: key.material,
    forwardProxy: { allow: hosts, privateNetworks: ['127.0.0.1/32'], ...rules },
    ...more,
  });
}

/** @param line the request's first line, without the version. */
const ask = (line: string) =>
  exchange(proxyPort, `${line} HTTP/1.1\r\nHost: ignored.example\r\nConnection: close\r\n\r\n`);

const get = (url: string) => ask(`GET ${url}`);

const statusOf = (answer: string): number => Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1]);

function headersOf(message: IncomingMessage | undefined): Record<string, string> {
  const { connection: _connection, ...fields } = message?.headers ?? {};
  return fields as Record<string, string>;
}

async function serveHttp(listener: RequestListener): Promise<number> {
  const server = createHttpServer(listener);
  return listenOn(server, () => server.closeAllConnections());
}

async function serveTcp(onSocket: (socket: Socket) => void) {
  let count = 0;
  let wake = () => {};
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket.on('error', () => undefined));
    onSocket(socket);
    socket.on('data', (octets: Buffer) => {
      count += octets.length;
      wake();
    });
  });
  const port = await listenOn(server, () => {
    for (const socket of sockets) socket.destroy();
  });
  return {
    port,
    untilReceived: async (total: number) => {
      const isThere = () => count >= total;
      while (!isThere()) await new Promise<void>((resolve) => (wake = resolve));
    },
  };
}

async function listenOn(server: Server, end: () => void): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(async () => {
    end();
    await new Promise((resolve) => server.close(resolve));
  });
  return (server.address() as { port: number }).port;
}
