import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../../test/support/temporary-folder.ts';
import { SMALL, untilVm } from '../../../test/support/test-pool.ts';
import { LARGER, OTHER_TOKEN, startTestVmApi } from '../../../test/support/test-vm-api.ts';
import { poolError } from '../../pool/index.ts';

let folder: string;
let running: Awaited<ReturnType<typeof startTestVmApi>>;
let call: typeof running.call;

beforeEach(async () => {
  folder = await temporaryFolder();
  running = await startTestVmApi(folder);
  ({ call } = running);
});
afterEach(() => running.close());

const load = { virtualmachine: { name: 'photos', imageRef: 'photos' } };

describe('the VM-loading API', () => {
  it('loads a VM and answers with its host name, address and URL [gateway G4] [gateway G8]', async () => {
    const answer = await call('POST', '', load, { prefer: 'wait=20' });
    expect(answer.statusCode).toBe(201);
    expect(answer.headers['preference-applied']).toBe('wait=20');
    expect(answer.headers['location']).toBe('/version1/virtualmachine/photos');
    expect(answer.json()).toEqual({
      virtualmachine: {
        name: 'photos',
        status: 'ready',
        host: 'photos.edge.example',
        url: 'http://photos.edge.example:8080/',
        ip: '192.0.2.1',
        version: 1,
        imageRef: 'photos',
        imageDigest: running.digest,
        ...SMALL,
      },
    });
  });

  it('answers at once when nobody wants to wait, and tells later how far it is [gateway G4]', async () => {
    expect((await call('POST', '', load)).statusCode).toBe(202);
    await untilVm(running.pool, 'photos', ({ phase }) => phase === 'ready');
    expect((await call('GET', '/photos')).json()).toMatchObject({ virtualmachine: { status: 'ready' } });
    expect((await call('GET')).json()).toMatchObject({ virtualmachines: [{ name: 'photos' }] });
    expect((await call('POST', '', load)).statusCode).toBe(201);
    expect(running.hypervisor.starts).toBe(1);
  });

  it("takes the document's own example: a trailing comma, no configuration, a doubled slash [gateway G4]", async () => {
    const text = '{"virtualmachine": {"name": "photos", "imageRef": "photos",}}';
    const xml = { accept: 'application/xml' };
    const answer = await running.ask('POST', '//version1/virtualmachine', text, xml);
    expect(answer.statusCode).toBe(202);
    expect(answer.headers['content-type']).toBe('application/xml; charset=utf-8');
    expect(answer.body).toMatch(/^<\?xml .*<virtualmachine><name>photos<\/name><status>/s);
  });

  it('answers in XML whatever it has to say, when XML is asked for [gateway G4]', async () => {
    const xml = { accept: 'application/xml' };
    expect((await call('GET', '', undefined, xml)).body).toContain('<virtualmachines></virtualmachines>');
    expect((await call('GET', '/nobody', undefined, xml)).body).toContain('<error><code>vm_not_found</code>');
    const refused = await call('POST', '', '{', xml);
    expect(refused.body).toContain('<error><code>invalid_json</code>');
    expect(refused.headers['content-type']).toBe('application/xml; charset=utf-8');
  });

  it('gives a VM the stored configuration, or the one in the request [gateway G6]', async () => {
    const stored = await call('POST', '', {
      virtualmachine: { ...load.virtualmachine, configurationid: LARGER },
    });
    expect(stored.json()).toMatchObject({ virtualmachine: { memoryBytes: 2 ** 28 } });
    const configuration = { cpus: 1, memoryBytes: 2 ** 27, diskBytes: 2 ** 20 };
    const own = await call('POST', '', {
      virtualmachine: { name: 'own', imageRef: 'photos', configuration },
    });
    expect(own.json()).toMatchObject({ virtualmachine: configuration });
    const unknown = await call('POST', '', {
      virtualmachine: { ...load.virtualmachine, configurationid: 'huge' },
    });
    expect(unknown.statusCode).toBe(422);
    expect(unknown.json().error.message).toContain('no configuration huge is stored here; there are small');
  });

  it('keeps to the scope that the origin names, and changes it without a new start', async () => {
    const scope = { methods: ['GET', 'HEAD'], paths: ['/photos/'] };
    const scoped = { virtualmachine: { ...load.virtualmachine, scope } };
    expect((await call('POST', '', scoped, { prefer: 'wait=20' })).json()).toMatchObject({
      virtualmachine: { scope },
    });
    const all = await call('POST', '', load);
    expect(all.statusCode).toBe(201);
    expect(all.json().virtualmachine.scope).toBeUndefined();
    expect(running.hypervisor.starts).toBe(1);
  });

  it('gives an origin no path of the gateway in the reason of a failed VM', async () => {
    const words = "ENOSPC: no space left on device, open '/var/lib/orilla/run/photos/disk.raw'";
    running.hypervisor.failures = [poolError('image_invalid', words)];
    const answer = await call('POST', '', load, { prefer: 'wait=20' });
    expect(answer.statusCode).toBe(502);
    expect(answer.json().error.message).toMatch(/open '<path>'$/);
    const { virtualmachine } = (await call('GET', '/photos')).json();
    expect(virtualmachine).toMatchObject({
      status: 'failed',
      reason: expect.stringMatching(/open '<path>'$/),
    });
    // The operator's pages have it whole.
    expect(running.pool.get('photos').reason).toContain('/var/lib/orilla/run/photos/disk.raw');
  });

  it('answers a client that tries wrong tokens with 429 after some, and right ones from there as ever', async () => {
    const wrong = () => call('GET', '', undefined, { authorization: 'Bearer x' });
    const statuses: number[] = [];
    for (let i = 0; i < 14; i += 1) statuses.push((await wrong()).statusCode);
    expect(statuses.slice(0, 10)).toEqual(Array.from({ length: 10 }, () => 403));
    expect(statuses.slice(-2)).toEqual([429, 429]);
    const last = await wrong();
    expect(last.headers['retry-after']).toBe('1');
    expect(last.json().error.code).toBe('too_many_refusals');
    expect((await call('GET')).statusCode).toBe(200);
  });

  it('starts no more VMs for an origin than its quota', async () => {
    const ask = (name: string) => call('POST', '', { virtualmachine: { ...load.virtualmachine, name } });
    for (const name of ['a', 'b', 'c']) expect((await ask(name)).statusCode).toBe(202);
    const refused = await ask('d');
    expect(refused.statusCode).toBe(403);
    expect(refused.json().error).toMatchObject({
      code: 'quota_exceeded',
      message: 'photos may have 3 VMs here; it has 3',
    });
  });

  it('ends a VM, so that the origin serves again', async () => {
    await call('POST', '', load, { prefer: 'wait=20' });
    expect((await call('DELETE', '/photos')).statusCode).toBe(204);
    expect((await call('GET', '/photos')).statusCode).toBe(404);
  });

  it('shows and touches only what belongs to the origin of the token', async () => {
    await call('POST', '', load);
    const other = { authorization: `Bearer ${OTHER_TOKEN}` };
    expect((await call('GET', '', undefined, other)).json()).toEqual({ virtualmachines: [] });
    for (const method of ['GET', 'DELETE'] as const) {
      expect((await call(method, '/photos', undefined, other)).statusCode).toBe(404);
    }
    expect((await call('POST', '', load, other)).statusCode).toBe(409);
    expect(running.pool.list()).toHaveLength(1);
  });

  it('asks for a token, and refuses one that is of nobody', async () => {
    const none = await call('POST', '', load, { authorization: '' });
    expect(none.statusCode).toBe(401);
    expect(none.headers['www-authenticate']).toBe('Bearer realm="orilla"');
    expect((await call('POST', '', load, { authorization: 'Bearer x' })).statusCode).toBe(403);
    expect(running.pool.list()).toEqual([]);
  });

  it.for([
    ['{', 'invalid_json', 'not JSON'],
    ['[]', 'invalid_request', 'expected object'],
    [
      { virtualmachine: { ...load.virtualmachine, scope: { paths: ['x'] } } },
      'invalid_request',
      'begins with',
    ],
    [{ virtualmachine: { name: 'photos' } }, 'invalid_request', 'imageRef'],
    [{ virtualmachine: { name: 'Not A Label', imageRef: 'x' } }, 'invalid_request', 'expected a DNS label'],
    [{ virtualmachine: { name: 'photos', imageRef: 'x'.repeat(3000) } }, 'invalid_request', 'imageRef'],
    [{ virtualmachine: { ...load.virtualmachine, imageDigest: 'md5' } }, 'invalid_request', 'sha256:'],
    [
      { virtualmachine: { ...load.virtualmachine, imageRef: '../../etc' } },
      'image_outside_root',
      'not below',
    ],
  ] as const)('names what is wrong with %j', async ([payload, code, words]) => {
    const answer = await call('POST', '', payload);
    expect(answer.statusCode).toBeGreaterThanOrEqual(400);
    expect(answer.statusCode).toBeLessThan(500);
    expect(answer.json().error).toMatchObject({ code, message: expect.stringContaining(words) });
    expect(running.pool.list()).toEqual([]);
  });

  it('takes the request as XML too, in the words of its own answers [gateway G4]', async () => {
    const text = `<?xml version="1.0" encoding="UTF-8"?>
      <virtualmachine><name>photos</name><imageRef>photos</imageRef>
        <configuration><cpus>1</cpus><memoryBytes>${2 ** 27}</memoryBytes></configuration>
        <scope><methods><method>GET</method><method>HEAD</method></methods></scope>
      </virtualmachine>`;
    const answer = await call('POST', '', text, { 'content-type': 'application/xml; charset=utf-8' });
    expect(answer.statusCode).toBe(202);
    expect(answer.json()).toMatchObject({
      virtualmachine: { memoryBytes: 2 ** 27, diskBytes: 0, scope: { methods: ['GET', 'HEAD'] } },
    });
    const entity = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><virtualmachine/>';
    const refused = await call('POST', '', entity, { 'content-type': 'text/xml' });
    expect(refused.statusCode).toBe(400);
    expect(refused.json().error.code).toBe('invalid_xml');
  });

  it('forgives each slip by itself: a doubled slash, a trailing comma, a missing configuration [gateway G4]', async () => {
    const comma = '{"virtualmachine": {"name": "a", "imageRef": "photos", "configurationid": "small",},}';
    const plain = '{"virtualmachine": {"name": "a", "imageRef": "photos", "configurationid": "small"}}';
    for (const [url, payload] of [
      ['/version1/virtualmachine', comma],
      ['//version1/virtualmachine', plain],
      ['/version1//virtualmachine', plain],
      ['/version1/virtualmachine', '{"virtualmachine": {"name": "a", "imageRef": "photos"}}'],
    ] as const) {
      const answer = await running.ask('POST', url, payload);
      expect(answer.json(), `${url} ${payload}`).toMatchObject({ virtualmachine: { name: 'a', ...SMALL } });
    }
    expect((await running.ask('GET', '//version1//virtualmachine//a')).statusCode).toBe(200);
    expect(running.pool.list()).toHaveLength(1);
  });

  it('reads no body beyond its limit, and none of another type', async () => {
    expect((await call('POST', '', `"${'x'.repeat(20_000)}"`)).statusCode).toBe(413);
    expect((await call('POST', '', '<a/>', { 'content-type': 'text/html' })).statusCode).toBe(415);
  });

  it('loads from a directory of the gateway in which the image was stored before [gateway G5]', async () => {
    for (const imageRef of [
      join(folder, 'provided', 'photos'),
      `file://${folder}/provided/photos`,
      running.digest,
    ]) {
      const answer = await call(
        'POST',
        '',
        { virtualmachine: { name: 'photos', imageRef } },
        { prefer: 'wait=20' },
      );
      expect(answer.statusCode, imageRef).toBe(201);
      await call('DELETE', '/photos');
    }
  });
});
