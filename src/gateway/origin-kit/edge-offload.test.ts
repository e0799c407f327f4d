import { writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import fastify from 'fastify';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { exchange } from '../../../test/support/raw-http.ts';
import { RecordingAudit } from '../../../test/support/recording-audit.ts';
import { temporaryFolder } from '../../../test/support/temporary-folder.ts';
import { SMALL, startTestPool, untilVm } from '../../../test/support/test-pool.ts';
import { systemClock, systemRandom } from '../../base/index.ts';
import { openStore } from '../../platform/store/index.ts';
import { silentLog } from '../../platform/telemetry/index.ts';
import { Gateway } from '../gateway.ts';
import { OriginDirectory } from '../origins/origin-directory.ts';
import { type OriginTables, originMigrations } from '../origins/origin-table.ts';
import { EdgeOffload, type EdgeOffloadOptions } from './edge-offload.ts';

const TOKEN = 'the-token-of-the-photo-site';
const LOOPBACK = { host: '127.0.0.1', port: 0 };

let folder: string;
let running: Awaited<ReturnType<typeof startTestPool>>;
let gateway: Gateway;
let origins: OriginDirectory;
let originPort: number;
let answer: (request: IncomingMessage, response: ServerResponse) => void;
let log: string[];
const closers: (() => Promise<unknown>)[] = [];

beforeEach(async () => {
  log = [];
  folder = await temporaryFolder();
  running = await startTestPool(folder);
  await writeFile(join(folder, 'token'), TOKEN);
  const origin = createServer((asked, response) => answer(asked, response));
  await new Promise<void>((resolve) => origin.listen(0, '127.0.0.1', resolve));
  originPort = (origin.address() as { port: number }).port;
  closers.push(async () => {
    origin.closeAllConnections();
    await new Promise((resolve) => origin.close(resolve));
  });
  const store = await openStore<OriginTables>(join(folder, 'origins.db'), originMigrations);
  closers.push(() => store.close());
  origins = await OriginDirectory.open(
    { clock: systemClock, random: systemRandom, log: silentLog, store },
    { edgeDomain: 'edge.example', tokenFolder: join(folder, 'tokens') },
    [
      {
        name: 'photos',
        hosts: ['photos.example'],
        upstream: {
          host: '127.0.0.1',
          port: originPort,
          isTls: false,
          authority: `127.0.0.1:${originPort}`,
        },
        offload: {
          maxVms: 3,
          imageHosts: [],
          sshKeys: [],
          applicationKeys: [],
          tokenFile: join(folder, 'token'),
        },
      },
    ],
  );
  gateway = await Gateway.start(
    {
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
      registry: running.registry,
      audit: new RecordingAudit(),
      pool: running.pool,
      origins,
    },
    {
      version: 'test',
      workers: 1,
      workerFolder: join(folder, 'workers'),
      listen: LOOPBACK,
      edgeDomain: 'edge.example',
      publicAddress: '192.0.2.1',
      showServedBy: true,
      tagForm: 'api-url',
      addsTagDigest: false,
      keyFile: join(folder, 'key.pem'),
      api: { listen: LOOPBACK, publicHost: '127.0.0.1' },
      remoteCommands: {},
      configurations: { small: SMALL },
      defaultConfiguration: 'small',
    },
  );
  closers.push(
    () => running.close(),
    () => gateway.close(),
  );
});
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

function offload(options: Partial<EdgeOffloadOptions> = {}): EdgeOffload {
  return new EdgeOffload({
    gateways: [{ api: `127.0.0.1:${gateway.ports.api}`, token: TOKEN }],
    vm: { name: 'photos', imageRef: 'photos' },
    log: (line) => log.push(line),
    ...options,
  });
}

/** A site that is nothing but the kit and a page. */
function serveWith(kit: EdgeOffload): void {
  answer = (asked, response) => {
    void kit.handle(asked, response).then((isAnswered) => {
      if (!isAnswered) response.end('the page');
    });
  };
}

function visit(options: { port?: number; from?: string; headers?: Record<string, string> } = {}) {
  return new Promise<{ status: number; headers: IncomingMessage['headers']; body: string }>(
    (resolve, reject) => {
      const asked = request(
        {
          host: '127.0.0.1',
          port: options.port ?? gateway.port,
          localAddress: options.from,
          path: '/album?page=2',
          agent: false,
          headers: { Host: 'photos.example', ...options.headers },
        },
        (response) => {
          let body = '';
          response.setEncoding('utf8').on('data', (text: string) => {
            body += text;
          });
          response.on('end', () =>
            resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
          );
        },
      );
      asked.on('error', reject).end();
    },
  );
}

const ready = () => untilVm(running.pool, 'photos', ({ phase }) => phase === 'ready');

describe('the origin’s kit', () => {
  it('has the VM loaded when the first visitor comes, and the VM serves from then on [gateway G11] [gateway G10]', async () => {
    serveWith(offload());
    const first = await visit();
    expect(first).toMatchObject({ status: 200, body: 'the page' });
    expect(first.headers).toMatchObject({ 'vm-host-name': 'photos.edge.example', 'vm-ip': '192.0.2.1' });
    await ready();
    expect(await visit()).toMatchObject({ status: 200, body: 'vm photos /album' });
    expect(running.hypervisor.starts).toBe(1);
  });

  it('waits until enough different users came within the time [gateway G11]', async () => {
    serveWith(offload({ threshold: { users: 3, withinMs: 60_000 } }));
    for (const from of ['127.0.0.1', '127.0.0.2', '127.0.0.1']) await visit({ from });
    expect(running.pool.list()).toEqual([]);
    await visit({ from: '127.0.0.3' });
    expect(running.pool.list()).toHaveLength(1);
  });

  it('calls once however many visitors come together', async () => {
    serveWith(offload());
    await Promise.all(Array.from({ length: 20 }, () => visit()));
    expect(running.pool.list()).toHaveLength(1);
    expect(log).toHaveLength(1);
  });

  it('answers by body or by redirect where that is wanted [gateway G9]', async () => {
    serveWith(offload({ answer: 'redirect' }));
    const redirected = await visit();
    expect(redirected.status).toBe(302);
    expect(redirected.headers['location']).toBe(`http://photos.edge.example:${gateway.port}/`);
    await running.pool.remove('photos');
    serveWith(offload({ answer: 'body' }));
    expect((await visit()).body).toBe('vmip=192.0.2.1; vm-host-name=photos.edge.example\n');
  });

  it('believes no tag but a fresh one, signed by a gateway that it knows', async () => {
    let seen: IncomingMessage['headers'] = {};
    answer = (asked, response) => {
      seen = asked.headers;
      response.end();
    };
    await visit();
    serveWith(offload());
    const genuine = Object.fromEntries(
      ['bng-api-url', 'signature-input', 'signature'].map((name) => [name, String(seen[name])]),
    );
    const direct = (headers: Record<string, string>) => visit({ port: originPort, headers });
    await direct({});
    expect(log).toEqual([]);
    await direct({ 'bng-api-url': genuine['bng-api-url'] ?? '' });
    expect(log.pop()).toContain('is not signed');
    await direct({ ...genuine, 'bng-api-url': '198.51.100.1:8081/version1/virtualmachine' });
    expect(log.pop()).toContain('names no gateway that is known');
    await direct({ ...genuine, Host: 'other.example' });
    expect(log.pop()).toContain('the signature is wrong');
    expect(running.pool.list()).toEqual([]);
    await direct(genuine);
    expect(running.pool.list()).toHaveLength(1);
    await direct(genuine);
    expect(log.pop()).toContain('used before');
  });

  it('lets the visitor notice nothing when the gateway refuses, and asks no more for a while', async () => {
    serveWith(offload({ vm: { name: 'photos', imageRef: 'nothing-there' } }));
    for (let i = 0; i < 3; i += 1) expect(await visit()).toMatchObject({ status: 200, body: 'the page' });
    expect(log).toEqual([expect.stringContaining('there is no ')]);
  });

  it('is a middleware for Express and Connect, and a hook for Fastify', async () => {
    const kit = offload();
    answer = (asked, response) => kit.middleware(asked, response, () => response.end('connect'));
    expect(await visit()).toMatchObject({ body: 'connect', headers: { 'vm-ip': '192.0.2.1' } });

    await running.pool.remove('photos');
    const app = fastify();
    app.addHook('onRequest', offload().onRequest);
    app.get('/album', () => 'fastify');
    await app.ready();
    answer = (asked, response) => app.routing(asked, response);
    expect(await visit()).toMatchObject({ body: 'fastify', headers: { 'vm-ip': '192.0.2.1' } });
    await app.close();
  });

  it('believes tags by each of its tokens while they are changed, and no longer those by one that it has not', async () => {
    const api = `127.0.0.1:${gateway.ports.api}`;
    const { token: fresh = '' } = await origins.rotate('photos', 'begin');
    serveWith(offload({ gateways: [{ api, token: fresh }] }));
    await visit();
    expect(log.splice(0)).toEqual([expect.stringContaining('not one that is trusted')]);

    serveWith(offload({ gateways: [{ api, token: [fresh, TOKEN] }], vm: { name: 'photos', imageRef: '-' } }));
    await visit();
    expect(log.splice(0)).toEqual([expect.stringMatching(/^(?!tag not believed)/)]);
    await origins.rotate('photos', 'finish');
    await visit();
    expect(log).toEqual([]);
    serveWith(offload({ gateways: [{ api, token: TOKEN }] }));
    await visit();
    expect(log).toEqual([expect.stringContaining('not one that is trusted')]);
  });

  it('says at once what is wrong with its options', () => {
    expect(() => offload({ gateways: [{ api: 'not a host', token: TOKEN }] })).toThrow('got "not a host"');
    expect(() => offload({ gateways: [{ api: 'a.example', token: [] }] })).toThrow('a.example has no token');
  });
});

describe('the gateway’s keys', () => {
  it('stand in a well-known directory of its API, for everyone', async () => {
    const text = await exchange(
      gateway.ports.api,
      'GET /.well-known/http-message-signatures-directory HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
    );
    expect(text).toContain('application/http-message-signatures-directory+json');
    expect(text).toMatch(
      /\{"keys":\[\{"kty":"OKP","crv":"Ed25519","x":"[\w-]{43}","kid":"[\w-]{43}","use":"sig"\}\]\}/,
    );
  });
});
