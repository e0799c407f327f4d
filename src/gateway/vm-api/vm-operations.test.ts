import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { writeImageFolder } from '../../../test/support/image-folder.ts';
import { temporaryFolder } from '../../../test/support/temporary-folder.ts';
import { untilVm } from '../../../test/support/test-pool.ts';
import { OTHER_TOKEN, startTestVmApi } from '../../../test/support/test-vm-api.ts';

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

describe('an operation', () => {
  const operation = (path: string, headers: Record<string, string> = {}) =>
    running.ask('GET', path, undefined, headers);

  it('is where to ask for what is on its way, until it is over', async () => {
    const asked = await call('POST', '', load, { prefer: 'respond-async' });
    expect(asked.statusCode).toBe(202);
    expect(asked.headers).toMatchObject({ 'preference-applied': 'respond-async', 'retry-after': '1' });
    const path = String(asked.headers['location']);
    expect(path).toMatch(/^\/version1\/operations\/[0-9a-z]{16}$/);
    expect(asked.json().virtualmachine.operation).toBe(path);
    const underway = await operation(path);
    expect(underway.headers['retry-after']).toBe('1');
    expect(underway.json()).toMatchObject({
      operation: { kind: 'load', status: 'running', virtualmachine: 'photos', version: 1 },
    });
    expect(underway.json().operation.phase).toMatch(/^(fetching|starting)$/);

    expect((await call('POST', '', load, { prefer: 'wait=20' })).statusCode).toBe(201);
    const over = await operation(path);
    expect(over.headers['retry-after']).toBeUndefined();
    expect(over.json().operation).toMatchObject({
      status: 'succeeded',
      finishedAt: expect.stringMatching(/Z$/),
    });
    expect(over.json().operation.phase).toBeUndefined();
    expect((await call('GET', '/photos')).json().virtualmachine.operation).toBeUndefined();
    const xml = await operation(path, { accept: 'application/xml' });
    expect(xml.body).toContain('<operation><id>');
  });

  it('is its origin’s only', async () => {
    const path = String((await call('POST', '', load)).headers['location']);
    const other = await operation(path, { authorization: `Bearer ${OTHER_TOKEN}` });
    expect(other.statusCode).toBe(404);
    expect(other.json().error.code).toBe('operation_not_found');
    expect((await operation('/version1/operations/0000000000000000')).statusCode).toBe(404);
    expect((await operation('/version1/operations/A..B')).statusCode).toBe(400);
  });

  it('that fails says why, to those who wait and to those who ask later', async () => {
    const imageDigest = `sha256:${'0'.repeat(64)}`;
    const wrong = { virtualmachine: { ...load.virtualmachine, imageDigest } };
    const path = String((await call('POST', '', wrong)).headers['location']);
    await untilVm(running.pool, 'photos', ({ phase }) => phase === 'failed');
    expect((await operation(path)).json().operation).toMatchObject({
      status: 'failed',
      reason: expect.stringContaining(running.digest),
    });
    const waited = await call('POST', '', wrong, { prefer: 'wait=20' });
    expect(waited.statusCode).toBe(502);
    expect(waited.json().error).toMatchObject({
      code: 'vm_failed',
      message: expect.stringContaining('expected'),
    });
  });
});

describe('a request with an Idempotency-Key', () => {
  const key = (value: string) => ({ 'idempotency-key': value });

  it('is done once, and answered alike however it is written', async () => {
    const first = await call('POST', '', load, key('"one"'));
    const spaced = '{"virtualmachine":\n{"imageRef": "photos", "name": "photos",}}';
    const again = await call('POST', '', spaced, key('"one"'));
    expect([first.statusCode, again.statusCode]).toEqual([202, 202]);
    expect(again.headers['location']).toBe(first.headers['location']);
    expect(running.hypervisor.starts).toBeLessThan(2);
  });

  it('is refused when the key came with another request, and a new key is asked for', async () => {
    await call('POST', '', load, key('"one"'));
    const other = { virtualmachine: { ...load.virtualmachine, name: 'other' } };
    for (const answer of [
      await call('POST', '', other, key('"one"')),
      await call('PUT', '/photos', load, key('"one"')),
    ]) {
      expect(answer.statusCode).toBe(422);
      expect(answer.json().error).toMatchObject({
        code: 'request_key_reused',
        message: expect.stringContaining('needs a new key'),
      });
    }
    expect(running.pool.list()).toHaveLength(1);
  });

  it('is not done a second time after what it brought was stopped', async () => {
    await call('POST', '', load, { ...key('"one"'), prefer: 'wait=20' });
    await call('DELETE', '/photos');
    const again = await call('POST', '', load, key('"one"'));
    expect(again.statusCode).toBe(404);
    expect(running.pool.list()).toEqual([]);
  });

  it('is refused with a key that is none', async () => {
    const answer = await call('POST', '', load, key('""'));
    expect(answer.statusCode).toBe(400);
    expect(answer.json().error.code).toBe('invalid_idempotency_key');
    expect(running.pool.list()).toEqual([]);
  });
});

describe('a new version of a VM', () => {
  const second = { virtualmachine: { imageRef: 'second' } };
  let digest: string;
  beforeEach(async () => {
    digest = await writeImageFolder(join(folder, 'provided', 'second'), { name: 'second' });
    await call('POST', '', load, { prefer: 'wait=20' });
  });

  it('takes the place of the old one under the same name', async () => {
    const asked = await call('PUT', '/photos', second);
    expect(asked.statusCode).toBe(202);
    expect(asked.json().virtualmachine).toMatchObject({
      status: 'ready',
      version: 1,
      next: { version: 2, imageRef: 'second' },
    });
    const done = await call('PUT', '/photos', second, { prefer: 'wait=20' });
    expect(done.statusCode).toBe(200);
    expect(done.headers['location']).toBe('/version1/virtualmachine/photos');
    expect(done.json().virtualmachine).toMatchObject({
      version: 2,
      host: 'photos.edge.example',
      imageDigest: digest,
      previous: { version: 1, imageDigest: running.digest },
    });
  });

  it('leaves the old one in place when it fails, and says why', async () => {
    const wrong = { virtualmachine: { ...second.virtualmachine, imageDigest: `sha256:${'0'.repeat(64)}` } };
    const failed = await call('PUT', '/photos', wrong, { prefer: 'wait=20' });
    expect(failed.statusCode).toBe(502);
    expect(failed.json().error.code).toBe('vm_failed');
    expect((await call('GET', '/photos')).json().virtualmachine).toMatchObject({
      status: 'ready',
      version: 1,
      failedVersion: { version: 2, reason: expect.stringContaining(digest) },
    });
  });

  it('goes back', async () => {
    await call('PUT', '/photos', second, { prefer: 'wait=20' });
    const back = await call('POST', '/photos/rollback', undefined, { prefer: 'wait=20' });
    expect(back.statusCode).toBe(200);
    expect(back.json().virtualmachine).toMatchObject({ version: 3, imageDigest: running.digest });
    const xml = await call('GET', '/photos', undefined, { accept: 'text/xml' });
    expect(xml.body).toContain('<previous><version>2</version><imageRef>second</imageRef>');
  });

  it('has nothing to go back to at first, and is nobody else’s to change', async () => {
    const none = await call('POST', '/photos/rollback');
    expect(none.statusCode).toBe(409);
    expect(none.json().error.code).toBe('previous_version_missing');
    const other = { authorization: `Bearer ${OTHER_TOKEN}` };
    expect((await call('POST', '/photos/rollback', undefined, other)).statusCode).toBe(404);
    expect((await call('PUT', '/photos', second, other)).statusCode).toBe(409);
    expect((await call('PUT', '/other', load)).json().error.code).toBe('name_mismatch');
  });

  it('may replace an image that is withdrawn then', async () => {
    const images = (method: 'GET' | 'DELETE', path = '') => running.ask(method, `/version1/images${path}`);
    const busy = await images('DELETE', `/${running.digest}`);
    expect(busy.statusCode).toBe(409);
    expect(busy.json().error.code).toBe('image_in_use');
    await call('PUT', '/photos', second, { prefer: 'wait=20' });
    expect((await images('DELETE', `/${running.digest}`)).statusCode).toBe(204);
    expect((await images('DELETE', `/${running.digest}`)).statusCode).toBe(204);
    expect((await images('GET')).json()).toEqual({
      images: [
        { digest: running.digest, status: 'withdrawn' },
        { digest, status: 'stored', name: 'second', sizeBytes: 15 },
      ],
    });
    const back = await call('POST', '/photos/rollback');
    expect(back.statusCode).toBe(409);
    const again = await call('PUT', '/photos', {
      virtualmachine: { imageRef: 'photos', imageDigest: running.digest },
    });
    expect(again.statusCode).toBe(410);
    expect((await images('DELETE', '/sha256:1')).statusCode).toBe(400);
  });
});
