import { createServer, type IncomingMessage } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { exchange } from '../../../../test/support/raw-http.ts';
import { systemClock, systemRandom } from '../../../base/index.ts';
import { silentLog } from '../../../platform/telemetry/index.ts';
import type { ForeignRules } from '../data-plane.ts';
import { RawDataPlane } from '../raw-data-plane.ts';

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

let received: IncomingMessage[];
let plane: RawDataPlane;
let serverPort: number;

beforeEach(async () => {
  received = [];
  const server = createServer((message, response) => {
    received.push(message);
    response.end(`${message.headers.host}${message.url}`);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => new Promise((resolve) => server.close(resolve).closeAllConnections()));
  serverPort = (server.address() as { port: number }).port;
  plane = await RawDataPlane.start(
    {
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
      observe: () => undefined,
      askName: async () => ({ addresses: ['127.0.0.1'], lifetimeMs: 60_000 }),
    },
    { host: '127.0.0.1', port: 0 },
    { foreign: { transparent: { host: '127.0.0.1', port: 0 } } },
  );
  closers.push(() => plane.close());
});

describe('the transparent entrance', () => {
  it('passes a request on to the host that it names, tagged, without the client’s doing [gateway G1]', async () => {
    use({});
    const answer = await ask('GET /a?b=c', `elsewhere.example:${serverPort}`);
    expect(answer).toContain(`elsewhere.example:${serverPort}/a?b=c`);
    expect(received[0]?.headers).toMatchObject({ 'bng-api-server': '192.0.2.1' });
    expect(received[0]?.headers).not.toHaveProperty('x-forwarded-for');
  });

  it('serves a site of this gateway by its route [gateway G10]', async () => {
    use({});
    expect(await ask('GET /a', 'photos.example')).toContain('photos.example/a');
    expect(received[0]?.headers).toMatchObject({ 'x-forwarded-for': '127.0.0.1' });
  });

  it.for([
    ['a port that is not on the list', 'GET /', 'elsewhere.example:25', 403],
    ['this machine', 'GET /', '127.0.0.1', 403],
    ['CONNECT', 'CONNECT elsewhere.example:443', 'elsewhere.example:443', 400],
    ['a request for no host', 'GET /', 'a b', 400],
    ['OPTIONS for nobody', 'OPTIONS *', 'elsewhere.example', 400],
  ] as const)('refuses %s', async ([, line, host, status]) => {
    use({ privateNetworks: [] });
    expect(await ask(line, host)).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(received).toEqual([]);
  });

  it('is for the network behind it only, and for nobody before it knows its rules', async () => {
    expect(await ask('GET /', `elsewhere.example:${serverPort}`)).toMatch(/^HTTP\/1.1 403 /);
    use({ clients: ['192.0.2.0/24'] });
    expect(await ask('GET /', `elsewhere.example:${serverPort}`)).toMatch(/^HTTP\/1.1 403 /);
    use({});
    expect(await ask('GET /', `elsewhere.example:${serverPort}`)).toMatch(/^HTTP\/1.1 200 /);
  });
});

function use(rules: Partial<ForeignRules>): void {
  const upstream = { host: '127.0.0.1', port: serverPort, isTls: false };
  plane.apply({
    routes: new Map([['photos.example', { origin: 'photos', upstream, vms: [] }]]),
    tag: { name: 'Bng-API-Server', value: '192.0.2.1' },
    showServedBy: false,
    transparent: { allow: ['*', `*:${serverPort}`], privateNetworks: ['127.0.0.0/8'], ...rules },
  });
}

const ask = (line: string, host: string) =>
  exchange(plane.portOf('transparent'), `${line} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
