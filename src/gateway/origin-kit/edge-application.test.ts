import type { IncomingMessage, ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DIGEST, ScriptedApplications, SIGNATURE } from '../../../test/support/scripted-applications.ts';
import { temporaryFolder } from '../../../test/support/temporary-folder.ts';
import { startTestVmApi, TOKEN } from '../../../test/support/test-vm-api.ts';
import { ManualClock } from '../../base/index.ts';
import { makeTag, tagWriter } from '../tag.ts';
import { sharedTagKey } from '../tag-key.ts';
import { EdgeOffload, type EdgeOffloadOptions } from './edge-offload.ts';

const application = {
  applicationRef: 'http://photos.example/notes.tar',
  digest: DIGEST,
  signature: SIGNATURE,
};

let applications: ScriptedApplications;
let running: Awaited<ReturnType<typeof startTestVmApi>>;
let authority: string;
let clock: ManualClock;
let log: string[];
let nonces = 0;

beforeEach(async () => {
  applications = new ScriptedApplications();
  running = await startTestVmApi(await temporaryFolder(), applications);
  authority = await running.listen();
  clock = new ManualClock(1_700_000_000_000);
  log = [];
});
afterEach(() => running.close());

const kit = (options: Partial<EdgeOffloadOptions> = {}) =>
  new EdgeOffload({
    gateways: [{ api: authority, token: TOKEN }],
    application,
    log: (line) => log.push(line),
    clock,
    ...options,
  });

/** A visitor who came through the gateway; what the kit wrote into the answer. */
async function visit(offload: EdgeOffload, assigned: string | undefined): Promise<Record<string, string>> {
  const tag = makeTag('api-url', authority);
  const write = tagWriter(tag, sharedTagKey(TOKEN), assigned === undefined ? undefined : { value: assigned });
  nonces += 1;
  const moment = { nowS: Math.floor(clock.nowMs() / 1000), nonce: `nonce-${nonces}` };
  const lines = write({ method: 'GET', authority: 'photos.example', path: '/' }, moment)
    .split('\r\n')
    .slice(0, -1);
  const fields = lines
    .map((line) => line.split(/: (.*)/s, 2))
    .map(([name = '', value]) => [name.toLowerCase(), value]);
  const headers = { host: 'photos.example', ...Object.fromEntries(fields) };
  const written: Record<string, string> = {};
  const response = { setHeader: (name: string, value: string) => (written[name] = value) };
  const request = { method: 'GET', url: '/', headers, socket: { remoteAddress: '192.0.2.9' } };
  // Cast: of a message the kit reads these four, of an answer it uses this one.
  await offload.handle(request as unknown as IncomingMessage, response as unknown as ServerResponse);
  return written;
}

const PHOTOS = 'photos.edge.example:8080';

describe('the kit, where a gateway names a VM that runs', () => {
  it('has the application put there, once, and tells the visitor [gateway G13] [gateway G15]', async () => {
    const offload = kit();
    const answers = await Promise.all(Array.from({ length: 10 }, () => visit(offload, PHOTOS)));
    expect(applications.requests).toMatchObject([
      { vm: 'photos', applicationRef: application.applicationRef },
    ]);
    expect(answers).toContainEqual({ 'Vm-Host-Name': 'photos.edge.example', 'Vm-Ip': '192.0.2.1' });
    await clock.advance(60_000);
    expect(await visit(offload, PHOTOS)).toHaveProperty('Vm-Host-Name', 'photos.edge.example');
    expect(applications.requests).toHaveLength(1);
  });

  it('asks for nothing without a VM that is named, and for none that is not its own [gateway G12]', async () => {
    expect(await visit(kit(), undefined)).toEqual({});
    expect(log).toEqual([]);
    expect(await visit(kit(), 'news.edge.example')).toEqual({});
    expect(log.join()).toContain('names news.edge.example, which is no VM of ours');
    expect(applications.requests).toEqual([]);
  });

  it('does not ask again while it is on its way [gateway G13]', async () => {
    applications.outcome = { status: 'running' };
    const offload = kit();
    await visit(offload, PHOTOS);
    await clock.advance(5_000);
    await visit(offload, PHOTOS);
    expect(applications.requests).toHaveLength(1);
  });

  it('does not ask again soon after it was refused [gateway G13]', async () => {
    applications.outcome = { status: 'failed', reason: 'it does not answer' };
    const offload = kit();
    expect(await visit(offload, PHOTOS)).toEqual({});
    expect(log.at(-1)).toContain('it does not answer');
    await visit(offload, PHOTOS);
    expect(applications.requests).toHaveLength(1);
    await clock.advance(15_000);
    await visit(offload, PHOTOS);
    expect(applications.requests).toHaveLength(2);
  });

  it('rests when it was taken on, and did not come to run [gateway G13]', async () => {
    applications.outcome = { status: 'running' };
    const offload = kit();
    await visit(offload, PHOTOS);
    applications.vms = applications.vms.map((vm) => Object.assign(vm, { deployment: undefined }));
    await clock.advance(2_000);
    expect(await visit(offload, PHOTOS)).toEqual({});
    expect(log.at(-1)).toContain('does not run in photos.edge.example, though it was put there');
    await clock.advance(14_000);
    await visit(offload, PHOTOS);
    expect(applications.requests).toHaveLength(1);
    await clock.advance(1_000);
    await visit(offload, PHOTOS);
    expect(applications.requests).toHaveLength(2);
  });

  it('goes both ways: loads a VM where none is named, and puts the application into the one that is', async () => {
    const offload = kit({ vm: { name: 'photos', imageRef: 'photos', scope: { needs: 'application' } } });
    await visit(offload, undefined);
    await expect.poll(() => running.pool.list().map(({ name }) => name)).toEqual(['photos']);
    expect(applications.requests).toEqual([]);
    await visit(offload, PHOTOS);
    expect(applications.requests).toHaveLength(1);
  });
});
