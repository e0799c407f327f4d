import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

// The contract between provider and gateway is HTTP, so it is tested as HTTP: the example runs as a program of its own
// against a gateway's API that is written here, and neither knows the product.

const ORIGIN = join(import.meta.dirname, '..', '..', 'examples', 'origin', 'origin.ts');
const TOKEN = 'a-token-of-the-photo-site';

let folder: string;
let cleanUp: (() => unknown)[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'example-origin-'));
  cleanUp = [() => rm(folder, { recursive: true, force: true })];
  await writeFile(join(folder, 'image.json'), '{"name":"photos"}');
  await writeFile(join(folder, 'initrd.img'), 'layers');
  await writeFile(join(folder, 'token'), `${TOKEN}\n`);
});

afterEach(async () => {
  for (const end of cleanUp.reverse()) await end();
});

// ---- the two sides ----------------------------------------------------------------------------------------------

type Call = Pick<IncomingMessage, 'method' | 'url' | 'headers'> & { readonly body: string };
type Reply = { readonly status: number; readonly body: unknown };

const VM = {
  name: 'photos',
  status: 'ready',
  host: 'photos.edge.localhost',
  url: 'http://photos.edge.localhost:8080/',
  ip: '127.0.0.1',
};
const ready: Reply = { status: 201, body: { virtualmachine: VM } };
const starting: Reply = { status: 202, body: { virtualmachine: { ...VM, status: 'starting' } } };

/** @param reply what the API answers; a promise that never settles makes a gateway that hangs. */
async function fakeGateway(reply: () => Reply | Promise<Reply>) {
  const calls: Call[] = [];
  const serve = async (request: IncomingMessage, response: ServerResponse) => {
    const { method, url, headers } = request;
    calls.push({ method, url, headers, body: await text(request) });
    const { status, body } = await reply();
    response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body));
  };
  const server = createServer((request, response) => {
    serve(request, response).catch((error: unknown) => response.destroy(error as Error));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  cleanUp.push(close);
  return { address: `127.0.0.1:${port}`, calls, close }; // The address as it stands in a tag.
}

interface Origin {
  readonly url: string;
  readonly log: () => string;
  readonly process: ChildProcess;
  readonly exited: Promise<number | null>;
}

function run(...args: readonly string[]): Pick<Origin, 'log' | 'process' | 'exited'> {
  const child = spawn(process.execPath, [ORIGIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  const collect = (chunk: Buffer) => {
    output += chunk.toString();
  };
  child.stdout.on('data', collect);
  child.stderr.on('data', collect);
  const exited = once(child, 'close').then(([code]) => code as number | null);
  cleanUp.push(async () => {
    child.kill('SIGKILL');
    await exited;
  });
  return { log: () => output, process: child, exited };
}

async function startOrigin(...args: readonly string[]): Promise<Origin> {
  const origin = run('--port', '0', '--image', folder, '--token-file', join(folder, 'token'), ...args);
  await expect.poll(origin.log, { timeout: 20_000 }).toContain(' at http://');
  const url = / at (http:\S+)\//.exec(origin.log())?.[1] ?? '';
  return { ...origin, url };
}

/** An origin with one gateway on its list. */
async function pair(reply: () => Reply | Promise<Reply>, ...args: readonly string[]) {
  const gateway = await fakeGateway(reply);
  return { gateway, origin: await startOrigin('--gateway', gateway.address, ...args) };
}

/** `node:http`, because `fetch` tidies paths and will not send some headers. */
async function visit(
  origin: Origin,
  path = '/',
  headers: Record<string, string | string[]> = {},
  method = 'GET',
) {
  const startedMs = performance.now();
  const request = httpRequest(origin.url, { path, headers, method, agent: false });
  request.end();
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  const body = await text(response);
  return {
    status: response.statusCode,
    headers: response.headers,
    body,
    tookMs: performance.now() - startedMs,
  };
}

const tagged = (address: string) => ({ 'Bng-API-URL': `${address}/version1/virtualmachine` });
const isPage = ({ status, body }: Awaited<ReturnType<typeof visit>>) =>
  status === 200 && body.includes('<h1>Shorelines</h1>');

// ---- what is tested ---------------------------------------------------------------------------------------------

describe('the example origin asks for its VM', () => {
  test('with one POST that names image, digest and configuration, and shows its token [gateway G4]', async () => {
    const { gateway, origin } = await pair(() => starting);
    await visit(origin, '/', tagged(gateway.address));

    expect(gateway.calls).toHaveLength(1);
    const [call] = gateway.calls;
    expect(call).toMatchObject({ method: 'POST', url: '/version1/virtualmachine' });
    expect(call?.headers).toMatchObject({
      'content-type': 'application/json',
      accept: 'application/json',
      authorization: `Bearer ${TOKEN}`,
    });
    const digest = createHash('sha256').update('{"name":"photos"}').digest('hex');
    expect(JSON.parse(call?.body ?? '')).toEqual({
      virtualmachine: {
        name: 'photos',
        imageRef: `${origin.url}/images/photos`,
        configurationid: 'small',
        imageDigest: `sha256:${digest}`,
      },
    });
  });

  test('once, however many visitors arrive at the same time [gateway G11]', async () => {
    const answer = Promise.withResolvers<Reply>();
    const { gateway, origin } = await pair(() => answer.promise);
    const visits = Array.from({ length: 50 }, () => visit(origin, '/', tagged(gateway.address)));
    await expect.poll(() => gateway.calls.length).toBe(1);
    answer.resolve(starting);
    const answers = await Promise.all(visits);

    expect(answers.every(isPage)).toBe(true);
    await visit(origin, '/style.css', tagged(gateway.address));
    expect(gateway.calls).toHaveLength(1);
  });

  test('on each gateway that its visitors come through [gateway G17]', async () => {
    const gateways = await Promise.all([fakeGateway(() => starting), fakeGateway(() => starting)]);
    const origin = await startOrigin(...gateways.flatMap(({ address }) => ['--gateway', address]));
    for (const { address } of [...gateways, ...gateways]) await visit(origin, '/', tagged(address));
    expect(gateways.map(({ calls }) => calls.length)).toEqual([1, 1]);
  });

  test.for([
    ['Bng-API-URL', '', '/version1/virtualmachine'],
    ['Bng-Api-URL', '', '/version1/virtualmachine'],
    ['Bng-API-URL', 'http://', '/version1/virtualmachine'],
    ['Bng-API-URL', '', '//version1/virtualmachine'],
    ['Bng-API-Server', '', ''],
  ] as const)('when the tag is written %s: %s<host>%s [gateway G1]', async ([name, before, after]) => {
    const { gateway, origin } = await pair(() => starting);
    const answer = await visit(origin, '/', { [name]: `${before}${gateway.address}${after}` });
    expect(isPage(answer)).toBe(true);
    expect(gateway.calls.map(({ url }) => url)).toEqual(['/version1/virtualmachine']);
  });

  test('not without a tag, and not on a gateway that is not in its list, whatever the tag says', async () => {
    const listed = await fakeGateway(() => ready);
    const stranger = await fakeGateway(() => ready);
    const origin = await startOrigin('--gateway', listed.address);
    const forged: Record<string, string | string[]>[] = [
      {},
      tagged(stranger.address),
      { 'Bng-API-Server': stranger.address },
      tagged(`${listed.address}@${stranger.address}`),
      {
        'Bng-API-URL': [
          `${stranger.address}/version1/virtualmachine`,
          `${listed.address}/version1/virtualmachine`,
        ],
      },
      { 'Bng-API-URL': `${listed.address}/another/path` },
      { 'Bng-API-URL': 'http://[' },
      { 'Bng-API-URL': '' },
      { 'Bng-API-URL': `${listed.address}/${'x'.repeat(4000)}` },
    ];
    for (const headers of forged) {
      const answer = await visit(origin, '/', headers);
      expect(isPage(answer)).toBe(true);
      expect(answer.headers['vm-host-name']).toBeUndefined();
    }
    expect([...listed.calls, ...stranger.calls]).toEqual([]);
  });
});

describe('the example origin names its VM to the visitor', () => {
  test('in header fields beside its ordinary page [gateway G9]', async () => {
    const { gateway, origin } = await pair(() => starting);
    const answer = await visit(origin, '/', tagged(gateway.address));
    expect(isPage(answer)).toBe(true);
    expect(answer.headers).toMatchObject({ 'vm-host-name': 'photos.edge.localhost', 'vm-ip': '127.0.0.1' });
  });

  test('in the body of a 200 [gateway G9]', async () => {
    const { gateway, origin } = await pair(() => starting, '--answer', 'body');
    const answer = await visit(origin, '/', tagged(gateway.address));
    expect(answer).toMatchObject({
      status: 200,
      body: 'vmip=127.0.0.1; vm-host-name=photos.edge.localhost\n',
    });
    expect(answer.headers['content-type']).toMatch(/^text\/plain/);
    const picture = await visit(origin, '/photos/lagoon.jpg', tagged(gateway.address));
    expect(picture.headers['content-type']).toBe('image/jpeg');
  });

  test('as a redirect once it is ready, for which it waits [gateway G9]', async () => {
    const { gateway, origin } = await pair(() => ready, '--answer', 'redirect');
    const answer = await visit(origin, '/', tagged(gateway.address));
    expect(answer).toMatchObject({ status: 302, headers: { location: VM.url } });
    expect(gateway.calls[0]?.headers['prefer']).toBe('wait=10');

    const atTheVm = await visit(origin, '/', { ...tagged(gateway.address), Host: `${VM.host}:8080` });
    expect(isPage(atTheVm)).toBe(true);
  });

  test('not as a redirect while it still starts: the visitor gets the page [gateway G9]', async () => {
    const { gateway, origin } = await pair(() => starting, '--answer', 'redirect');
    expect(isPage(await visit(origin, '/', tagged(gateway.address)))).toBe(true);
  });
});

describe('a visitor of the example origin notices nothing', () => {
  test('of an API that is down, and a later visitor is the reason for the next try', async () => {
    const gone = await fakeGateway(() => ready);
    gone.close();
    const origin = await startOrigin('--gateway', gone.address, '--retry-seconds', '3600');
    for (let visitor = 0; visitor < 5; visitor += 1) {
      expect(isPage(await visit(origin, '/', tagged(gone.address)))).toBe(true);
    }
    expect(origin.log().match(/asking for our VM/g)).toHaveLength(1);
    expect(origin.log()).toMatch(/no VM \(.*ECONNREFUSED/);
    expect(origin.log()).not.toContain(TOKEN);
  });

  test.for([
    ['refuses', 403, { error: { code: 'quota', message: 'one VM\nonly' } }],
    ['cannot start the VM', 202, { virtualmachine: { ...VM, status: 'failed' } }],
    ['talks nonsense', 201, []],
    ['names a host that breaks the header', 201, { virtualmachine: { ...VM, host: 'x\r\nSet-Cookie: a=b' } }],
    ['talks without end', 201, { virtualmachine: VM, filler: 'x'.repeat(100_000) }],
  ] as const)('of an API that %s', async ([, status, body]) => {
    const { gateway, origin } = await pair(() => ({ status, body }), '--retry-seconds', '0');
    for (let visitor = 1; visitor <= 2; visitor += 1) {
      const answer = await visit(origin, '/', tagged(gateway.address));
      expect(isPage(answer)).toBe(true);
      expect(answer.headers['vm-host-name']).toBeUndefined();
      // No pause was asked for, so each visitor is a reason to try again.
      expect(gateway.calls).toHaveLength(visitor);
    }
    expect(origin.log()).toMatch(/no VM \(/);
  });

  test('of a VM that was waited for in vain: no later visitor is made to wait for it', async () => {
    const { gateway, origin } = await pair(
      () => ({ status: 503, body: {} }),
      '--answer',
      'redirect',
      '--retry-seconds',
      '0',
    );
    expect(isPage(await visit(origin, '/', tagged(gateway.address)))).toBe(true);
    expect(isPage(await visit(origin, '/', tagged(gateway.address)))).toBe(true);
    expect(gateway.calls.map(({ headers }) => headers['prefer'])).toEqual(['wait=10', undefined]);
  });

  test('of an API that hangs, and only the first is kept a moment', async () => {
    const { gateway, origin } = await pair(() => Promise.withResolvers<Reply>().promise);
    const first = await visit(origin, '/', tagged(gateway.address));
    expect(isPage(first)).toBe(true);
    expect(first.tookMs).toBeLessThan(3000); // Its patience is 0.5 s.
    const second = await visit(origin, '/', tagged(gateway.address));
    expect(isPage(second)).toBe(true);
    expect(second.tookMs).toBeLessThan(400);
    expect(gateway.calls).toHaveLength(1);
  });
});

describe('the example origin as a web server', () => {
  test('serves its image for the gateway to fetch, and counts that apart from its visitors [gateway G5]', async () => {
    const origin = await startOrigin();
    expect(await visit(origin, '/images/photos/image.json')).toMatchObject({ body: '{"name":"photos"}' });
    expect(await visit(origin, '/images/photos/initrd.img')).toMatchObject({
      body: 'layers',
      headers: { 'content-length': '6' },
    });
    const before = JSON.parse((await visit(origin, '/stats')).body) as unknown;
    expect(before).toEqual({ requests: 0, bytesSent: 0, imageRequests: 2 });
    const { body } = await visit(origin);
    // The origin counts an answer's bytes once it is through with it, which may be after its visitor is.
    const counted = async () => JSON.parse((await visit(origin, '/stats')).body) as Record<string, number>;
    await expect.poll(async () => (await counted())['bytesSent']).toBeGreaterThan(body.length);
    expect(await counted()).toMatchObject({ requests: 1, imageRequests: 2 });
  });

  test('gives out nothing that lies outside its folders', async () => {
    await symlink(ORIGIN, join(folder, 'link.txt'));
    await writeFile(join(folder, '.hidden'), 'x');
    const origin = await startOrigin();
    const attempts =
      '/../origin.ts /photos/../../origin.ts /%2e%2e/origin.ts /..%2forigin.ts /..%5corigin.ts /%00 /% ' +
      '//etc/passwd /photos /images/photos/ /images/photos/link.txt /images/photos/.hidden ' +
      '/images/photos/../../../../etc/passwd /images/photos/..%2f..%2fetc%2fpasswd';
    for (const path of [...attempts.split(' '), `/${'x'.repeat(5000)}`]) {
      const answer = await visit(origin, path);
      expect([path, answer.status]).toEqual([path, 404]);
      expect(answer.body).toContain('The tide took it');
    }
  });

  test('answers HEAD, revalidation and other methods as HTTP wants them', async () => {
    const origin = await startOrigin();
    const head = await visit(origin, '/photos/lagoon.jpg', {}, 'HEAD');
    const get = await visit(origin, '/photos/lagoon.jpg');
    expect(head).toMatchObject({ status: 200, body: '' });
    const { date: _headDate, ...headHeaders } = head.headers;
    const { date: _getDate, ...getHeaders } = get.headers;
    expect(headHeaders).toEqual(getHeaders);
    const again = await visit(origin, '/photos/lagoon.jpg', { 'If-None-Match': get.headers.etag ?? '' });
    expect(again).toMatchObject({ status: 304, body: '' });
    expect(await visit(origin, '/', {}, 'POST')).toMatchObject({
      status: 405,
      headers: { allow: 'GET, HEAD' },
    });
    expect(await visit(origin, '/site.js?version=1')).toMatchObject({
      headers: { 'content-type': 'text/javascript; charset=utf-8' },
    });
  });

  test('ends on SIGTERM, also while a gateway hangs and a visitor holds a connection open', async () => {
    const { gateway, origin } = await pair(() => Promise.withResolvers<Reply>().promise);
    const idle = connect(Number(new URL(origin.url).port), '127.0.0.1');
    await once(idle, 'connect');
    cleanUp.push(() => idle.destroy());
    await visit(origin, '/', tagged(gateway.address));
    origin.process.kill('SIGTERM');
    expect(await origin.exited).toBe(0);
  });

  test.for([
    [['--port', 'ninety'], '--port: expected a whole number from 0 to 65535; got "ninety"'],
    [['--answer', 'carrier-pigeon'], '--answer: expected header, body, redirect; got "carrier-pigeon"'],
    [['--gateway', 'http://user@x'], '--gateway: expected HOST:PORT'],
    [['--gateway', '127.0.0.1:8081'], '--gateway needs --image'],
    [['--gateway', '127.0.0.1:8081', '--image', '.'], '--gateway needs --token-file'],
    [['--public-url', 'ftp://x'], '--public-url: expected an http or https URL'],
    [['--colour'], '--colour'],
  ] as const)('refuses %j, saying what it expected', async ([args, message]) => {
    const origin = run(...args);
    expect(await origin.exited).toBe(2);
    expect(origin.log()).toContain(message);
  });

  test('explains itself', async () => {
    const origin = run('--help');
    expect(await origin.exited).toBe(0);
    expect(origin.log()).toContain('--token-file FILE');
  });
});
