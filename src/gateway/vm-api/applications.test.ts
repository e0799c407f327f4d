import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DIGEST, ScriptedApplications, SIGNATURE } from '../../../test/support/scripted-applications.ts';
import { temporaryFolder } from '../../../test/support/temporary-folder.ts';
import { OTHER_TOKEN, startTestVmApi } from '../../../test/support/test-vm-api.ts';

let applications: ScriptedApplications;
let running: Awaited<ReturnType<typeof startTestVmApi>>;
let call: typeof running.call;

beforeEach(async () => {
  applications = new ScriptedApplications();
  running = await startTestVmApi(await temporaryFolder(), applications);
  ({ call } = running);
});
afterEach(() => running.close());

const PATH = '/photos/application';
const wanted = {
  application: { applicationRef: 'http://photos.example/notes.tar', digest: DIGEST, signature: SIGNATURE },
};
const runs = { virtualmachine: 'photos', status: 'running', name: 'notes', version: '1.0', digest: DIGEST };

describe('the application in a VM that runs', () => {
  it('is put there by a request that says where it is, and is shown from then on [gateway G13] [gateway G14]', async () => {
    expect((await call('GET', PATH)).json().error).toMatchObject({ code: 'application_not_found' });
    const answer = await call('PUT', PATH, wanted, { prefer: 'wait=20', 'idempotency-key': '"a"' });
    expect(answer.statusCode).toBe(200);
    expect(answer.json()).toEqual({ application: runs });
    expect(applications.requests).toMatchObject([
      { vm: 'photos', owner: 'photos', applicationRef: 'http://photos.example/notes.tar', digest: DIGEST },
    ]);
    expect(applications.requests[0]?.authority).toMatchObject({ signature: SIGNATURE, keys: [{}] });
    expect(applications.keys).toEqual(['a']);
    expect((await call('GET', PATH)).json()).toEqual({ application: runs });
  });

  it('is on its way for as long as it is fetched and installed, and the operation tells of it [gateway G13]', async () => {
    applications.outcome = { status: 'running' };
    const answer = await call('PUT', PATH, wanted);
    expect(answer.statusCode).toBe(202);
    expect(answer.headers).toMatchObject({ location: '/version1/operations/op1', 'retry-after': '1' });
    expect(answer.json()).toEqual({
      application: {
        virtualmachine: 'photos',
        status: 'installing',
        next: { applicationRef: 'http://photos.example/notes.tar', status: 'installing' },
        operation: '/version1/operations/op1',
      },
    });
  });

  it('is asked for and shown in XML as well, with a trailing comma and a doubled slash forgiven [gateway G4] [gateway G13]', async () => {
    const xml = { 'content-type': 'application/xml', accept: 'application/xml' };
    const { applicationRef } = wanted.application;
    const text =
      `<application><applicationRef>${applicationRef}</applicationRef><digest>${DIGEST}</digest>` +
      `<signature>${SIGNATURE}</signature></application>`;
    const answer = await call('PUT', PATH, text, xml);
    expect(answer.statusCode).toBe(200);
    expect(answer.body).toContain(
      '<application><virtualmachine>photos</virtualmachine><status>running</status>',
    );
    const forgiving = JSON.stringify(wanted).replace(/\}\}$/, ',},}');
    const again = await running.ask('PUT', '//version1/virtualmachine/photos//application', forgiving);
    expect(again.statusCode).toBe(200);
  });

  it('is taken out again, so that what the image serves is back', async () => {
    await call('PUT', PATH, wanted);
    expect((await call('DELETE', PATH)).statusCode).toBe(204);
    expect((await call('GET', PATH)).statusCode).toBe(404);
    expect((await call('DELETE', PATH)).json().error).toMatchObject({ code: 'application_not_found' });
  });

  it('does not come into a VM of another origin, nor without a key that the operator registered [gateway G13]', async () => {
    const other = { authorization: `Bearer ${OTHER_TOKEN}` };
    for (const method of ['GET', 'DELETE'] as const) {
      expect((await call(method, PATH, undefined, other)).json().error.code).toBe('vm_not_found');
    }
    expect((await call('PUT', PATH, wanted, other)).json().error.code).toBe('vm_not_found');
    const refused = await call('PUT', '/news/application', wanted, other);
    expect(refused.statusCode).toBe(403);
    expect(refused.json().error).toMatchObject({
      code: 'application_keys_missing',
      message: expect.stringContaining('orilla origin add --application-key'),
    });
    expect(applications.requests).toEqual([]);
  });

  it('is named with its failure when it does not answer', async () => {
    applications.outcome = { status: 'failed', reason: 'it said: no such file' };
    const answer = await call('PUT', PATH, wanted, { prefer: 'wait=5' });
    expect(answer.statusCode).toBe(502);
    expect(answer.json().error).toEqual({
      code: 'application_failed',
      message: 'the application in the VM photos failed: it said: no such file',
    });
  });

  it.for([
    ['no application', {}, 'application'],
    ['another digest', { application: { ...wanted.application, digest: 'md5:1' } }, 'sha256:'],
    [
      'half a signature',
      { application: { ...wanted.application, signature: 'AAAA' } },
      'an Ed25519 signature',
    ],
    [
      'an endless reference',
      { application: { ...wanted.application, applicationRef: 'x'.repeat(3000) } },
      'applicationRef',
    ],
    ['no reference', { application: { digest: DIGEST, signature: SIGNATURE } }, 'applicationRef'],
  ] as const)('is refused with what is wrong: %s', async ([, payload, words]) => {
    const answer = await call('PUT', PATH, payload);
    expect(answer.statusCode).toBe(400);
    expect(answer.json().error).toMatchObject({
      code: 'invalid_request',
      message: expect.stringContaining(words),
    });
  });
});

describe('the audit log', () => {
  it('has every request that changes something: who, from where, what, and how it ended', async () => {
    await call('PUT', PATH, wanted);
    await call('DELETE', PATH);
    await call('DELETE', PATH);
    await call('POST', '', { virtualmachine: { name: 'a', imageRef: '../../b' } });
    await call('GET', PATH);
    const entry = { who: 'origin:photos', details: { from: '127.0.0.1', way: 'api' } };
    expect(running.audit.entries).toEqual([
      { ...entry, what: 'deploy', object: 'photos', outcome: 'done' },
      { ...entry, what: 'withdraw', object: 'photos', outcome: 'done' },
      { ...entry, what: 'withdraw', object: 'photos', outcome: 'application_not_found' },
      { ...entry, what: 'load', object: 'a', outcome: 'image_outside_root' },
    ]);
  });

  it('has who was not let in; of those who keep trying, some', async () => {
    const nobody = { authorization: 'Bearer nobody' };
    for (let turn = 0; turn < 20; turn += 1) await call('GET', PATH, undefined, nobody);
    const lines = running.audit.entries;
    expect(lines[0]).toEqual({
      who: 'unknown',
      what: 'login',
      object: 'api',
      details: { from: '127.0.0.1' },
      outcome: 'token_unknown',
    });
    expect(lines.length).toBeLessThan(13);
    expect(lines.length).toBeGreaterThan(8);
  });
});
