import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { defineErrors } from '../../base/index.ts';
import { createLog, silentLog } from '../telemetry/index.ts';
import { type ApiServer, type ApiServerOptions, createApiServer, listen } from './api-server.ts';

const moonError = defineErrors({ moon_missing: 404, moon_full: 507 });
const ANYWHERE = { host: '127.0.0.1', port: 0 };

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
});

async function makeServer(options: Partial<ApiServerOptions> = {}, log = silentLog): Promise<ApiServer> {
  const app = await createApiServer(log, { title: 'Test', ...options });
  open.push(app);
  const body = z.strictObject({
    name: z.string(),
    crew: z.array(z.strictObject({ age: z.int() })).default([]),
  });
  app.post('/moons', { schema: { summary: 'Adds a moon', body } }, ({ body: { name } }) => ({ name }));
  app.get('/moons/:name', { schema: { params: z.object({ name: z.string() }) } }, ({ params }) => {
    throw moonError('moon_missing', `no moon is named ${params.name}`);
  });
  app.get('/full', () => {
    throw moonError('moon_full', 'no room on the moon');
  });
  app.get('/broken', () => {
    throw new Error('the password is 1234');
  });
  app.get(
    '/wrong-answer',
    { schema: { response: { 200: z.object({ count: z.int() }) } } },
    // What no type check lets through, and a fault of ours could still answer.
    () => ({ count: 'many' }) as unknown as { count: number },
  );
  return app;
}

const json = (payload: unknown) => ({
  method: 'POST' as const,
  url: '/moons',
  headers: { 'content-type': 'application/json' },
  payload: typeof payload === 'string' ? payload : JSON.stringify(payload),
});

describe('an error', () => {
  test.for([
    ['of ours', '/moons/luna', 404, 'moon_missing', 'no moon is named luna'],
    ['of ours above 500', '/full', 507, 'moon_full', 'no room on the moon'],
    ['of a path that is not there', '/sun', 404, 'not_found', 'there is no GET /sun here'],
    ['of a path that is no URL', '/moons/%zz', 400, 'invalid_request', expect.stringContaining('%zz')],
    ['of a path that is too long', `/moons/${'x'.repeat(300)}`, 414, 'uri_too_long', expect.any(String)],
    ['that nobody expected, without its words', '/broken', 500, 'internal', 'Internal Server Error'],
    ['of an answer of ours that is wrong', '/wrong-answer', 500, 'internal', 'Internal Server Error'],
  ] as const)('%s has the one form', async ([, url, status, code, message]) => {
    const response = await (await makeServer()).inject({ url });
    expect(response.statusCode).toBe(status);
    expect(response.headers['content-type']).toMatch(/^application\/json/);
    expect(response.json()).toEqual({ error: { code, message } });
  });

  test.for([
    ['that is not JSON', json('{'), 400, 'invalid_request'],
    ['that is empty', json(''), 400, 'invalid_request'],
    ['that is too long', json(`"${'x'.repeat(2000)}"`), 413, 'payload_too_large'],
    [
      'of another type',
      { ...json('<moon/>'), headers: { 'content-type': 'text/xml' } },
      415,
      'unsupported_media_type',
    ],
  ] as const)('in a body %s has the one form', async ([, sent, status, code]) => {
    const response = await (await makeServer({ bodyLimitBytes: 1000 })).inject(sent);
    expect(response.statusCode).toBe(status);
    expect(response.json()).toEqual({ error: { code, message: expect.stringMatching(/./) } });
  });

  test('in what a body holds names each fault by its key', async () => {
    const response = await (await makeServer()).inject(
      json({ name: 7, crew: [{ age: 30 }, { age: 1.5 }], x: 1 }),
    );
    expect(response.statusCode).toBe(400);
    const { code, message } = response.json<{ error: { code: string; message: string } }>().error;
    expect(code).toBe('invalid_request');
    expect(message.split('; ')).toEqual([
      expect.stringMatching(/^name: .*string/),
      expect.stringMatching(/^crew\.1\.age: .*int/),
      expect.stringMatching(/Unrecognized key: "x"/),
    ]);
  });

  test('above 500 is logged with its cause and the request, below it is not', async () => {
    const records: Record<string, unknown>[] = [];
    const log = createLog('debug', { write: (line) => void records.push(JSON.parse(line)) });
    const app = await makeServer({}, log);
    await app.inject({ url: '/moons/luna' });
    await app.inject({ url: '/broken' });
    expect(records).toMatchObject([
      { level: 'error', method: 'GET', url: '/broken', err: { message: 'the password is 1234' } },
    ]);
  });

  test.for([
    ['no HTTP', 'what is this\r\n\r\n', 400, 'invalid_request'],
    [
      'too long a head',
      `GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`,
      431,
      'request_header_fields_too_large',
    ],
  ] as const)('about %s has the one form, and the connection ends', async ([, octets, status, code]) => {
    const port = await listen(await makeServer(), ANYWHERE);
    const socket = connect(port, '127.0.0.1').setEncoding('utf8');
    let answer = '';
    socket.on('data', (text: string) => (answer += text)).on('error', () => {});
    socket.end(octets);
    await once(socket, 'close');
    expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect(JSON.parse(answer.slice(answer.indexOf('\r\n\r\n')))).toMatchObject({ error: { code } });
  });
});

test('the API describes itself at /openapi.json', async () => {
  const document = (await (await makeServer()).inject({ url: '/openapi.json' })).json<{
    paths: Record<string, unknown>;
  }>();
  expect(document).toMatchObject({
    openapi: '3.1.0',
    info: { title: 'Test' },
    paths: {
      '/moons': {
        post: {
          summary: 'Adds a moon',
          requestBody: {
            content: { 'application/json': { schema: { properties: { name: { type: 'string' } } } } },
          },
        },
      },
    },
  });
  expect(Object.keys(document.paths)).not.toContain('/openapi.json');
});

describe('the check of the Host', () => {
  const hosts = ['localhost', '[::1]'];
  const ask = async (host: string, url: string) =>
    (await makeServer({ hosts })).inject({ url, headers: { host } });

  test.for(['localhost', 'localhost:8088', 'LOCALHOST:8088', '[::1]:8088'])(
    'lets %s through',
    async (host) => {
      expect((await ask(host, '/openapi.json')).statusCode).toBe(200);
    },
  );

  test.for(['attacker.example', 'attacker.example:8088', 'localhost.attacker.example', '127.0.0.1'])(
    'answers 421 to %s, whatever is asked for',
    async (host) => {
      for (const url of ['/openapi.json', '/moons/luna', '/nowhere']) {
        const response = await ask(host, url);
        expect(response.statusCode).toBe(421);
        expect(response.json()).toMatchObject({
          error: { code: 'wrong_host', message: expect.stringContaining('expected localhost or [::1]') },
        });
      }
    },
  );

  test('is not made where no hosts are given', async () => {
    const response = await (await makeServer()).inject({
      url: '/openapi.json',
      headers: { host: 'any.example' },
    });
    expect(response.statusCode).toBe(200);
  });
});

describe('listening', () => {
  test('on port 0 tells the port that the kernel chose', async () => {
    const port = await listen(await makeServer(), ANYWHERE);
    const response = await fetch(`http://127.0.0.1:${port}/full`, { headers: { connection: 'close' } });
    expect(await response.json()).toMatchObject({ error: { code: 'moon_full' } });
  });

  test('on a port that is taken says which, and what to do', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    open.push(other);
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    await expect(listen(await makeServer(), { host: '127.0.0.1', port })).rejects.toMatchObject({
      code: 'port_taken',
      message: expect.stringMatching(new RegExp(`^127\\.0\\.0\\.1:${port} is taken .*--port-offset`)),
    });
  });

  test('on an address that is not of this machine says so', async () => {
    // 192.0.2.0/24 is for documentation (RFC 5737): no machine has it.
    await expect(listen(await makeServer(), { host: '192.0.2.1', port: 0 })).rejects.toMatchObject({
      code: 'cannot_listen',
      message: expect.stringMatching(/^cannot listen on 192\.0\.2\.1:0: .*EADDRNOTAVAIL/),
    });
  });

  test('on a Unix socket serves the same', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'orilla-http-'));
    open.push({ close: () => rmSync(folder, { recursive: true }) });
    const socketPath = join(folder, 'control');
    const app = await makeServer();
    expect(await listen(app, { path: socketPath })).toBe(0);
    const asking = request({ socketPath, path: '/full', headers: { connection: 'close' } }).end();
    const [response] = (await once(asking, 'response')) as [import('node:http').IncomingMessage];
    expect(response.statusCode).toBe(507);
    response.resume();
    await expect(listen(await makeServer(), { path: socketPath })).rejects.toMatchObject({
      code: 'port_taken',
      message: expect.stringContaining(socketPath),
    });
    await app.close();
  });
});
