import { beforeEach, describe, expect, it } from 'vitest';
import { RecordingAudit } from '../../../test/support/recording-audit.ts';
import {
  DIGEST,
  ScriptedApplications,
  SIGNATURE,
  TEST_ORIGINS,
} from '../../../test/support/scripted-applications.ts';
import { ManualClock } from '../../base/index.ts';
import { silentLog } from '../../platform/telemetry/index.ts';
import { OriginVms } from '../origin-vms.ts';
import { CommandRunner } from './command-runner.ts';
import { remoteCommands } from './commands.ts';

let clock: ManualClock;
let audit: RecordingAudit;
let applications: ScriptedApplications;
let runner: CommandRunner;
let mayStill: boolean;

beforeEach(() => {
  clock = new ManualClock();
  mayStill = true;
  audit = new RecordingAudit();
  applications = new ScriptedApplications();
  const vms = new OriginVms({ pool: applications, origins: TEST_ORIGINS });
  const addresses = { authorityOf: (name: string) => `${name}.edge.example`, publicAddress: '192.0.2.1' };
  const commands = remoteCommands({ clock, addresses });
  runner = new CommandRunner({ clock, log: silentLog, audit, vms, commands, settled: async () => {} });
});

const run = (line: string, origin = 'photos', signal = new AbortController().signal) =>
  runner.run(line, { origin, address: '192.0.2.9', way: 'ssh', mayStill: () => mayStill }, signal);
const DEPLOY = `application deploy photos http://photos.example/notes.tar --digest ${DIGEST} --signature ${SIGNATURE}`;

describe('the remote command line', () => {
  it('lists the VMs of the origin, and no others', async () => {
    expect(await run('vm ls')).toEqual({
      output: 'photos  ready  photos.edge.example  -\n',
      errors: '',
      status: 0,
    });
    const { output } = await run('vm ls --json', 'other');
    expect(JSON.parse(output)).toMatchObject({ virtualmachines: [{ name: 'news', status: 'ready' }] });
    applications.vms = [];
    expect(await run('vm ls')).toMatchObject({ output: 'no VMs\n', status: 0 });
  });

  it('puts an application into a VM, shows it and takes it out [gateway G13] [gateway G14]', async () => {
    const deployed = await run(DEPLOY);
    expect(deployed).toMatchObject({ errors: '', status: 0 });
    expect(deployed.output).toContain('status: succeeded\nvirtualmachine: photos\n');
    expect(applications.requests).toMatchObject([{ vm: 'photos', owner: 'photos', digest: DIGEST }]);
    expect((await run('application show photos')).output).toBe(
      `virtualmachine: photos\nstatus: running\nname: notes\nversion: 1.0\ndigest: ${DIGEST}\n`,
    );
    expect((await run('operation op1')).output).toContain('kind: deploy\n');
    expect(await run('application remove photos')).toMatchObject({ status: 0 });
    expect(await run('application show photos')).toEqual({
      output: '',
      errors: 'error: application_not_found: no application is in the VM photos\n',
      status: 1,
    });
    const entry = { who: 'origin:photos', object: 'photos', outcome: 'done' };
    expect(audit.entries).toEqual([
      { ...entry, what: 'application deploy', details: { from: '192.0.2.9', way: 'ssh' } },
      { ...entry, what: 'application remove', details: { from: '192.0.2.9', way: 'ssh' } },
    ]);
  });

  it('tells why an application failed, and how far it is when nobody waits any longer [gateway G13]', async () => {
    applications.outcome = { status: 'failed', reason: 'it said: \u001B[2Jno such file: /srv/x' };
    expect(await run(DEPLOY)).toMatchObject({
      errors: 'error: it said:  [2Jno such file: <path>\n',
      status: 1,
    });
    applications.outcome = { status: 'running' };
    const waiting = run(DEPLOY);
    await clock.advance(60_000);
    expect(await waiting).toMatchObject({ output: expect.stringContaining('status: running\n'), status: 0 });
  });

  it('takes what a shell would interpret as it stands [gateway G14]', async () => {
    const ref = 'http://photos.example/$(reboot)`id`;a|b>c';
    await run(`application deploy photos '${ref}' --digest ${DIGEST} --signature ${SIGNATURE}`);
    expect(applications.requests).toMatchObject([{ applicationRef: ref }]);
  });

  it.for([
    ['reboot', 2, 'there is no command "reboot"'],
    ['vm', 2, 'there is no command "vm"'],
    ['constructor', 2, 'there is no command'],
    ['vm ls more', 2, '"more" is too much; expected: vm ls'],
    ["vm 'ls", 2, 'does not end'],
    ['application show', 2, '<vm>: expected string'],
    ['application show ../x', 2, '<vm>: expected a DNS label'],
    ['application deploy photos x --digest md5:1', 2, '--digest: expected "sha256:"'],
    [`application deploy photos x --digest ${DIGEST}`, 2, '--signature'],
    ['application show photos --force', 2, "Unknown option '--force'"],
    ['application show news', 1, 'vm_not_found: no VM of yours is named news'],
    [DEPLOY.replace('photos', 'news'), 1, 'vm_not_found'],
    ['operation nosuch', 1, 'operation_not_found'],
    [`vm ls ${'x'.repeat(5000)}`, 2, 'at most 4096 characters'],
  ] as const)('refuses %s', async ([line, status, words]) => {
    const outcome = await run(line);
    expect(outcome).toMatchObject({ output: '', status });
    expect(outcome.errors).toContain(words);
    expect(applications.requests).toEqual([]);
  });

  it('says how to register a key where none is [gateway G13]', async () => {
    const { errors, status } = await run(DEPLOY.replace('photos', 'news'), 'other');
    expect(status).toBe(1);
    expect(errors).toContain('application_keys_missing: no key for the applications of other is registered');
    expect(audit.entries).toMatchObject([{ outcome: 'application_keys_missing' }]);
  });

  it('does nothing more for whom the key or token was taken away', async () => {
    mayStill = false;
    expect(await run('vm ls')).toMatchObject({ output: '', status: 1 });
    expect((await run(DEPLOY)).errors).toContain('login_revoked');
    expect(applications.requests).toEqual([]);
  });

  it('names every command in its help, with what each expects', async () => {
    const { output } = await run('help');
    for (const words of [
      'vm ls',
      'application show <vm>',
      '--digest sha256:… --signature …',
      'operation <id>',
    ]) {
      expect(output).toContain(words);
    }
  });

  it('takes 60 commands a minute from one origin, whichever way they come', async () => {
    for (let turn = 0; turn < 60; turn += 1) expect((await run('vm ls')).status).toBe(0);
    expect((await run('vm ls')).errors).toContain('too_many_commands');
    expect((await run('vm ls', 'other')).status).toBe(0);
    await clock.advance(60_000);
    expect((await run('vm ls')).status).toBe(0);
  });
});
