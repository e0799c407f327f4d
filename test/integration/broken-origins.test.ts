import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ask } from '../support/ask.ts';
import { RunningOrilla } from '../support/running-orilla.ts';
import { TestOrigin } from '../support/test-origin.ts';
import { loadedVm, VmApiClient } from '../support/vm-api-client.ts';

// Origins that fail, and origins that ask wrongly. No guest is started.

const SITE = 'site.example';

describe('a gateway', () => {
  let site: TestOrigin;
  let down: number;
  let noise: Server;
  let orilla: RunningOrilla;
  let api: VmApiClient;

  beforeAll(async () => {
    site = await TestOrigin.start('the site');
    const gone = await TestOrigin.start();
    down = gone.port;
    await gone[Symbol.asyncDispose]();
    noise = createServer((socket) => socket.on('error', () => undefined).end('this is not HTTP\r\n\r\n'));
    noise.listen(0, '127.0.0.1');
    await once(noise, 'listening');
    orilla = await RunningOrilla.start({
      origins: {
        site: { port: site.port },
        down: { port: down },
        noise: { port: (noise.address() as AddressInfo).port },
      },
    });
    api = new VmApiClient(orilla, 'site');
  });
  afterAll(async () => {
    await orilla?.[Symbol.asyncDispose]();
    await site?.[Symbol.asyncDispose]();
    noise?.close();
  });

  test('answers 502 for an origin that is down, and serves it once it is up', async () => {
    const answer = await orilla.visit('down.example');
    expect(answer).toMatchObject({ status: 502, servedBy: 'gateway' });
    expect(answer.body).toBe('the origin down cannot be reached\n');
    const up = createServer((socket) => socket.end('HTTP/1.0 200 OK\r\n\r\nup again')).listen(
      down,
      '127.0.0.1',
    );
    await once(up, 'listening');
    expect(await orilla.visit('down.example')).toMatchObject({ status: 200, body: 'up again' });
    up.close();
  });

  test('answers 502 for an origin that speaks something else', async () => {
    const answer = await orilla.visit('noise.example');
    expect(answer).toMatchObject({ status: 502, servedBy: 'gateway' });
    expect(answer.body).toBe('the origin noise broke off before it answered\n');
  });

  test('answers 404 for a site that it does not serve', async () => {
    expect(await orilla.visit('other.example')).toMatchObject({ status: 404 });
  });

  test('waits for a slow origin, and serves others meanwhile', async () => {
    const held = Promise.withResolvers<ServerResponse>();
    site.serve = ({ url }, response) => {
      if (url === '/slow') held.resolve(response);
      else response.end('quick');
    };
    const slow = orilla.visit(SITE, '/slow');
    const response = await held.promise;
    for (let i = 0; i < 5; i += 1) expect(await orilla.visit(SITE)).toMatchObject({ body: 'quick' });
    response.end('at last');
    expect(await slow).toMatchObject({ status: 200, body: 'at last' });
  });

  test.for([
    ['of known length', { 'content-length': '100000' }],
    ['of unknown length', { 'transfer-encoding': 'chunked' }],
  ] as const)('breaks an answer %s off where its origin did', async ([, headers]) => {
    site.serve = (_request, response) => {
      response.writeHead(200, headers);
      response.write('half of it', () => response.destroy());
    };
    await expect(orilla.visit(SITE)).rejects.toThrow(/aborted|hang up/);
    site.serve = (_request, response) => void response.end('well again');
    expect(await orilla.visit(SITE)).toMatchObject({ status: 200, body: 'well again' });
  });

  test('answers 502 where the origin closes before it answers; a POST reaches it once', async () => {
    let posts = 0;
    site.serve = ({ method }, response) => {
      if (method === 'POST') posts += 1;
      response.destroy();
    };
    const post = { method: 'POST', body: 'an order' };
    expect(await orilla.visit(SITE, '/', post)).toMatchObject({ status: 502, servedBy: 'gateway' });
    expect(posts).toBe(1);
    expect(await orilla.visit(SITE)).toMatchObject({ status: 502, servedBy: 'gateway' });
  });

  describe('at its VM-loading API', () => {
    const post = (body: string, headers = {}) =>
      api.ask('', { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body });
    const VM = { name: 'web', imageRef: 'IMAGE' };

    test.for([
      ['no JSON', '{', 400, 'invalid_json', /./],
      ['nothing', '', 400, 'invalid_json', /./],
      ['JSON of another kind', '[]', 400, 'invalid_request', /./],
      ['no name', '{"virtualmachine": {"imageRef": "x"}}', 400, 'invalid_request', /name/],
      [
        'a name that is no label',
        '{"virtualmachine": {"name": "Web!", "imageRef": "x"}}',
        400,
        'invalid_request',
        /virtualmachine\.name: expected a DNS label/,
      ],
      [
        'a configuration that is not stored',
        JSON.stringify({ virtualmachine: { ...VM, configurationid: 'huge' } }),
        422,
        'configuration_unknown',
        /no configuration huge is stored here; there are small/,
      ],
      [
        'more CPUs than this machine has',
        JSON.stringify({ virtualmachine: { ...VM, configuration: { cpus: 256, memoryBytes: 2 ** 28 } } }),
        422,
        'configuration_too_large',
        /256 CPUs were asked for; this host has \d+/,
      ],
      [
        'more memory than this machine has',
        JSON.stringify({ virtualmachine: { ...VM, configuration: { cpus: 1, memoryBytes: 2 ** 50 } } }),
        422,
        'configuration_too_large',
        /1024 TiB of memory were asked for/,
      ],
      ['a body without end', `{"virtualmachine": "${'x'.repeat(100_000)}"}`, 413, 'payload_too_large', /./],
    ] as const)('refuses %s and says why', async ([, body, status, code, message]) => {
      const answer = await post(body.replace('IMAGE', site.imageUrl('web')));
      expect(answer.status).toBe(status);
      expect(JSON.parse(answer.body)).toEqual({ error: { code, message: expect.stringMatching(message) } });
      expect(answer.body).not.toMatch(/node_modules|\.ts:/);
    });

    test('refuses in XML whoever prefers that', async () => {
      const answer = await post('{', { accept: 'application/xml' });
      expect(answer).toMatchObject({ status: 400 });
      expect(answer.headers['content-type']).toMatch(/^application\/xml/);
      expect(answer.body).toMatch(/invalid_json/);
    });

    test.for([
      ['no token', undefined, 401],
      ['a token of nobody', 'Bearer 0123456789012345678901234567890123456789012', 403],
      ['another scheme', 'Basic cGhvdG9zOnBob3Rvcw==', 401],
    ] as const)('refuses %s', async ([, authorization, status]) => {
      const headers = authorization === undefined ? {} : { authorization };
      const answer = await ask(orilla.apiPort, '127.0.0.1', '/version1/virtualmachine', { headers });
      expect(answer.status).toBe(status);
    });

    test('takes the body that the document prints: a comma too many, no configuration [gateway G4]', async () => {
      const imageRef = site.imageUrl('none');
      const answer = await post(`{"virtualmachine": {"name": "printed", "imageRef": "${imageRef}",}}`);
      expect(answer.status).toBe(202);
      expect(loadedVm(answer)).toMatchObject({ name: 'printed', cpus: 1 });
      expect(await api.remove('printed')).toBe(204);
    });
  });
});
