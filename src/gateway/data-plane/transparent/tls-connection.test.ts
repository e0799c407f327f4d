import { createServer, type Server, type Socket } from 'node:net';
import { connect as connectTls, createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeCertificate } from '../../../../test/support/made-certificate.ts';
import { RawConnection } from '../../../../test/support/raw-connection.ts';
import { ManualClock, systemRandom } from '../../../base/index.ts';
import { silentLog } from '../../../platform/telemetry/index.ts';
import { readAccepted } from '../accepted-socket.ts';
import { EMPTY_SNAPSHOT, type Exchange } from '../data-plane.ts';
import { ForeignHosts } from '../forward/foreign-hosts.ts';
import { ForeignReception } from '../forward/foreign-reception.ts';
import { NameResolver } from '../forward/name-resolver.ts';
import { Plane } from '../plane.ts';
import { TlsConnection } from './tls-connection.ts';

const closers: (() => Promise<unknown> | void)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

let clock: ManualClock;
let seen: Exchange[];
let plane: Plane;
let connections: Set<TlsConnection>;
let originPort: number;
let port: number;

beforeEach(async () => {
  clock = new ManualClock();
  seen = [];
  connections = new Set();
  plane = new Plane({
    clock,
    random: systemRandom,
    log: silentLog,
    observe: (each) => seen.push(each),
  });
  closers.push(() => plane.upstreams.close());
  const resolver = new NameResolver(clock, async (name) => {
    if (name !== 'photos.example') throw new Error('ENOTFOUND');
    return { addresses: ['127.0.0.1'], lifetimeMs: 60_000 };
  });
  const hosts = new ForeignHosts({ clock, random: systemRandom }, resolver, '(transparent)');
  const reception = new ForeignReception(plane, hosts, 'transparent');
  const owner = { onClosed: (connection: TlsConnection) => void connections.delete(connection) };
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (accepted) => {
    const socket = readAccepted(accepted, (octets) => connection.onOctets(octets));
    const connection: TlsConnection = new TlsConnection(
      {
        clock,
        headTimeoutMs: 15_000,
        observeRefusal: (status, failure, client) => reception.observeRefusal(status, failure, client),
        // Servers of tests cannot have port 443.
        passOn(client, request, target) {
          expect(request).toMatchObject({ method: 'CONNECT', target: `${target.hostName}:443` });
          hosts.apply(EMPTY_SNAPSHOT, {
            allow: [`*.example:${originPort}`],
            privateNetworks: ['127.0.0.0/8'],
          });
          return reception.passOn(client, request, { ...target, host: `${target.hostName}:${originPort}` });
        },
      },
      socket,
      owner,
    );
    connections.add(connection);
  });
  port = await listenOn(server);
});

describe('a TLS connection that is led here', () => {
  it('is passed on as it is to the server that it names: the client sees that server’s own certificate', async () => {
    const { certPem: cert, keyPem: key } = await makeCertificate('photos.example');
    const origin = createTlsServer({ cert, key }, (socket) => {
      socket.on('error', () => undefined).pipe(socket);
    });
    originPort = await listenOn(origin);
    const client = await secure({ servername: 'photos.example', ca: cert });
    expect(client.authorized).toBe(true);
    const long = Buffer.alloc(5_000_000, 'abc');
    const back: Buffer[] = [];
    client.on('data', (octets: Buffer) => back.push(octets));
    client.end(long);
    await new Promise((resolve) => client.once('end', resolve));
    expect(Buffer.concat(back).equals(long)).toBe(true);
    while (seen.length === 0) await new Promise((resolve) => setImmediate(resolve));
    expect(seen).toMatchObject([{ origin: '(transparent)', servedBy: 'origin', status: 200 }]);
  });

  it.for([
    ['names no server', {}],
    ['names one without an address', { servername: 'gone.example' }],
    ['names one that is not on the list', { servername: 'other.test' }],
  ] as const)('is ended when it %s', async ([, options]) => {
    originPort = 1;
    await expect(secure(options)).rejects.toThrow();
    expect(seen).toMatchObject([{ servedBy: 'gateway' }]);
  });

  it('is ended when it is no TLS', async () => {
    using client = await RawConnection.open(port);
    await client.send('GET / HTTP/1.1\r\n\r\n');
    await client.untilEnd();
    expect(client.received).toBe('');
    expect(seen).toMatchObject([{ status: 400, failure: 'what it sent is no TLS' }]);
  });

  it('is ended when its first message takes too long', async () => {
    using client = await RawConnection.open(port);
    await client.send('\x16\x03\x01');
    while (connections.size === 0) await new Promise((resolve) => setImmediate(resolve));
    await clock.advance(14_999);
    for (const each of connections) each.check(clock.monotonicMs());
    expect(connections.size).toBe(1);
    await clock.advance(1);
    for (const each of connections) each.check(clock.monotonicMs());
    await client.untilEnd();
  });
});

function secure(options: object): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const client = connectTls({ host: '127.0.0.1', port, ...options });
    closers.push(() => void client.destroy());
    client.once('secureConnect', () => resolve(client)).once('error', reject);
  });
}

async function listenOn(server: Server): Promise<number> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as { port: number }).port;
}
