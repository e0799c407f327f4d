import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { chmod, stat, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import ssh2 from 'ssh2';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RecordingAudit } from '../../../test/support/recording-audit.ts';
import {
  DIGEST,
  ScriptedApplications,
  SIGNATURE,
  testOrigin,
} from '../../../test/support/scripted-applications.ts';
import { temporaryFolder } from '../../../test/support/temporary-folder.ts';
import { needs } from '../../../test/support/tools.ts';
import { ManualClock } from '../../base/index.ts';
import { silentLog } from '../../platform/telemetry/index.ts';
import { OriginVms } from '../origin-vms.ts';
import { RefusedLogins } from '../refused-logins.ts';
import { opensshKey } from './openssh-key.ts';
import { RemoteCommands } from './remote-commands.ts';

const LOOPBACK = { host: '127.0.0.1', port: 0 };
const own = opensshKey(generateKeyPairSync('ed25519').privateKey);
const foreign = opensshKey(generateKeyPairSync('ed25519').privateKey);
const DEPLOY = `application deploy photos http://photos.example/notes.tar --digest ${DIGEST} --signature ${SIGNATURE}`;

let folder: string;
let clock: ManualClock;
let audit: RecordingAudit;
let applications: ScriptedApplications;
let commands: RemoteCommands;
const open: { destroy(): unknown }[] = [];

const start = () => {
  const origins = {
    find: (name: string) => (name === 'photos' ? testOrigin('photos', [own.publicKey]) : undefined),
    originOf: (token: string) => (token === 'a-token' ? 'photos' : undefined),
  };
  const vms = new OriginVms({ pool: applications, origins });
  const addresses = { authorityOf: (name: string) => `${name}.edge.example`, publicAddress: '192.0.2.1' };
  return RemoteCommands.start(
    {
      clock,
      log: silentLog,
      audit,
      refused: new RefusedLogins(clock, audit),
      origins,
      vms,
      settled: async () => {},
    },
    {
      addresses,
      ssh: { listen: LOOPBACK, hostKeyFile: join(folder, 'ssh-host-key') },
      telnet: { listen: LOOPBACK },
    },
  );
};

beforeEach(async () => {
  folder = await temporaryFolder();
  clock = new ManualClock();
  audit = new RecordingAudit();
  applications = new ScriptedApplications();
  commands = await start();
});
afterEach(async () => {
  for (const each of open.splice(0)) each.destroy();
  await commands.close();
});

interface Ran {
  readonly status: number | undefined;
  readonly output: string;
  readonly errors: string;
}

/** A client that is logged in. */
function login(options: ssh2.ConnectConfig = {}): Promise<ssh2.Client> {
  const client = new ssh2.Client();
  open.push(client);
  const { promise, resolve, reject } = Promise.withResolvers<ssh2.Client>();
  client.on('ready', () => resolve(client)).on('error', reject);
  client.on('close', () => reject(new Error('closed')));
  client.connect({
    host: '127.0.0.1',
    port: commands.ports.ssh ?? 0,
    username: 'photos',
    privateKey: own.privateKey,
    ...options,
  });
  return promise;
}

function collect(channel: ssh2.ClientChannel): Promise<Ran> {
  let [output, errors] = ['', ''];
  let status: number | undefined;
  channel.on('data', (octets: Buffer) => {
    output += octets.toString();
  });
  channel.stderr.on('data', (octets: Buffer) => {
    errors += octets.toString();
  });
  channel.on('exit', (code: number) => {
    status = code;
  });
  return new Promise((resolve) => channel.on('close', () => resolve({ status, output, errors })));
}

const exec = (client: ssh2.Client, command: string): Promise<Ran> =>
  new Promise((resolve, reject) =>
    client.exec(command, (error, channel) => (error ? reject(error) : resolve(collect(channel)))),
  );

describe('commands by SSH', () => {
  it('are run one by one, with output, errors and exit status apart [gateway G13]', async () => {
    const client = await login();
    expect(await exec(client, 'vm ls')).toEqual({
      status: 0,
      output: 'photos  ready  photos.edge.example  -\n',
      errors: '',
    });
    expect(await exec(client, DEPLOY)).toMatchObject({ status: 0, errors: '' });
    expect(applications.requests).toMatchObject([{ vm: 'photos', owner: 'photos' }]);
    expect(await exec(client, 'application show nosuch')).toMatchObject({
      status: 1,
      output: '',
      errors: expect.stringContaining('vm_not_found'),
    });
    expect(await exec(client, 'sh -c id')).toMatchObject({ status: 2, output: '' });
    expect(audit.entries).toMatchObject([
      { who: 'origin:photos', what: 'application deploy', details: { from: '127.0.0.1', way: 'ssh' } },
    ]);
  });

  it('are typed in a session, which ends with the status of the last [gateway G13]', async () => {
    const client = await login();
    const ran = await new Promise<Ran>((resolve, reject) =>
      client.shell(false, (error, channel) => {
        if (error) return reject(error);
        resolve(collect(channel));
        channel.end('vm ls\nnonsense\n');
      }),
    );
    expect(ran.output).toMatch(/"help" lists them.*\nphotos> photos {2}ready .*\nerror: command_invalid/s);
    expect(ran.status).toBe(2);
  });

  it('are shown as they are typed, where a terminal was asked for', async () => {
    const client = await login();
    const ran = await new Promise<Ran>((resolve, reject) =>
      client.shell((error, channel) => {
        if (error) return reject(error);
        resolve(collect(channel));
        channel.write('vm lx\u007Fs\rexit\r');
      }),
    );
    expect(ran.output).toContain('photos> vm lx\b \bs\r\n');
    expect(ran.output).toContain('photos  ready  photos.edge.example  -\r\n');
    expect(ran.status).toBe(0);
  });

  it('are for who holds a key of the origin, and nobody else; others are noted', async () => {
    for (const options of [
      { privateKey: foreign.privateKey },
      { username: 'other' },
      { username: '__proto__' },
      { password: 'photos', privateKey: undefined },
    ]) {
      await expect(login(options as ssh2.ConnectConfig)).rejects.toThrow(/authentication methods failed/);
    }
    await expect.poll(() => audit.entries.length).toBe(4);
    expect(audit.entries[0]).toEqual({
      who: 'origin:photos',
      what: 'login',
      object: 'ssh',
      details: { from: '127.0.0.1' },
      outcome: 'key_unknown',
    });
  });

  it('are all that there is: no files, no forwarding in either direction, no agent, no other algorithms', async () => {
    const client = await login({ strictVendor: false });
    const refusal = (ask: (done: (error?: Error) => void) => unknown) =>
      new Promise((resolve) => ask((error) => resolve(error?.message)));
    expect(await refusal((done) => client.sftp(done))).toMatch(/Unable to start subsystem/);
    expect(await refusal((done) => client.subsys('x', done))).toMatch(/Unable to start subsystem/);
    expect(await refusal((done) => client.forwardOut('', 0, '127.0.0.1', 80, done))).toMatch(
      /Channel open failure/,
    );
    expect(await refusal((done) => client.forwardIn('127.0.0.1', 0, done))).toMatch(/Unable to bind/);
    expect(await refusal((done) => client.openssh_forwardOutStreamLocal('/x', done))).toMatch(
      /Channel open failure/,
    );
    for (const algorithms of [
      { kex: ['diffie-hellman-group14-sha1'] },
      { cipher: ['aes128-cbc'] },
      { serverHostKey: ['ssh-rsa'] },
    ] as ssh2.Algorithms[]) {
      await expect(login({ algorithms })).rejects.toThrow(/no matching/);
    }
  });

  it('have limits: of sessions at a time, of the time to log in, of connections of one client', async () => {
    const client = await login();
    applications.outcome = { status: 'running' };
    const waiting = Array.from({ length: 4 }, () => exec(client, DEPLOY));
    await expect.poll(() => applications.requests.length).toBe(4);
    await expect(exec(client, 'vm ls')).rejects.toThrow(/Channel open failure/);
    await clock.advance(60_000);
    for (const ran of await Promise.all(waiting)) expect(ran.output).toContain('status: running');
    applications.outcome = { status: 'succeeded' };
    await expect.poll(async () => (await exec(client, 'vm ls')).status).toBe(0);

    const silent = Array.from({ length: 7 }, () => plainConnection(commands.ports.ssh));
    await Promise.all(silent.map(({ opened }) => opened));
    await expect(login()).rejects.toThrow();
    await clock.advance(30_000);
    await Promise.all(silent.map(({ closed }) => closed));
    expect((await exec(await login(), 'vm ls')).status).toBe(0);
  });

  it('end with the connection on which nothing is asked for 10 min, though the client is there', async () => {
    const client = await login();
    const closed = new Promise((resolve) => client.once('close', () => resolve(undefined)));
    await clock.advance(599_000);
    expect((await exec(client, 'vm ls')).status).toBe(0);
    await clock.advance(599_000);
    expect((await exec(client, 'vm ls')).status).toBe(0);
    await clock.advance(600_000);
    await closed;
  });

  it('go on for others, whatever somebody sends', async () => {
    const ident = 'SSH-2.0-x\r\n';
    for (const said of [
      'GET / HTTP/1.1\r\n\r\n',
      'x'.repeat(100_000),
      `${ident}${'\u0000'.repeat(5000)}`,
      `${ident}${'ÿ'.repeat(5000)}`,
    ]) {
      const { socket, closed } = plainConnection(commands.ports.ssh);
      socket.write(Buffer.from(said, 'latin1'));
      await closed;
    }
    expect((await exec(await login(), 'vm ls')).status).toBe(0);
  });

  it('come with a host key that is made once, in a file that its owner alone can read', async () => {
    const file = join(folder, 'ssh-host-key');
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    const keyOf = async () => {
      let seen = '';
      await login({ hostVerifier: (key: Buffer) => Boolean((seen = key.toString('base64'))) });
      return seen;
    };
    const before = await keyOf();
    await commands.close();
    commands = await start();
    expect(await keyOf()).toBe(before);
    await commands.close();
    await writeFile(file, 'no key');
    await expect(start()).rejects.toThrow(/expected an Ed25519 key without passphrase/);
    await writeFile(file, foreign.privateKey);
    commands = await start();
    expect(await keyOf()).toBe(foreign.publicKey.split(' ')[1]);
  });
});

needs('ssh')('the ssh client of OpenSSH', () => {
  it('gives commands, and gets their exit status [gateway G13]', async () => {
    const keyFile = join(folder, 'key');
    await writeFile(keyFile, own.privateKey);
    await chmod(keyFile, 0o600);
    const ssh = (...args: string[]) =>
      new Promise<Ran>((resolve) => {
        const options = [
          ...['-F', 'none', '-i', keyFile, '-p', String(commands.ports.ssh), '-o', 'BatchMode=yes'],
          ...['-o', 'StrictHostKeyChecking=accept-new', '-o', `UserKnownHostsFile=${join(folder, 'known')}`],
        ];
        const child = execFile('ssh', [...options, ...args], (_error, output, errors) =>
          resolve({ status: child.exitCode ?? undefined, output, errors }),
        );
        child.stdin?.end('vm ls\n');
      });
    expect(await ssh('photos@127.0.0.1', 'vm', 'ls')).toMatchObject({
      status: 0,
      output: 'photos  ready  photos.edge.example  -\n',
    });
    expect(await ssh('photos@127.0.0.1', 'application show nosuch')).toMatchObject({ status: 1, output: '' });
    const typed = await ssh('-tt', 'photos@127.0.0.1');
    expect(typed.output).toContain('photos  ready  photos.edge.example  -\r\n');
    expect(await ssh('other@127.0.0.1', 'vm ls')).toMatchObject({ status: 255, output: '' });
  });
});

interface PlainConnection {
  readonly socket: Socket;
  readonly opened: Promise<unknown>;
  readonly closed: Promise<unknown>;
  /** Resolves with all that came once it has this in it. */
  readonly until: (text: string) => Promise<string>;
}

function plainConnection(port: number | undefined): PlainConnection {
  const socket = connect(port ?? 0, '127.0.0.1');
  open.push(socket);
  let received = '';
  socket.on('data', (octets) => {
    received += octets.toString('latin1');
  });
  socket.on('error', () => undefined);
  return {
    socket,
    opened: new Promise((resolve) => socket.once('connect', resolve)),
    closed: new Promise((resolve) => socket.once('close', resolve)),
    until: async (text) => {
      await expect.poll(() => received).toContain(text);
      return received;
    },
  };
}

describe('commands by telnet', () => {
  const dial = () => plainConnection(commands.ports.telnet);
  const HIDE = '\u00FF\u00FB\u0001';
  const SHOW = '\u00FF\u00FC\u0001';

  it('are given after a name and a token, which is not shown [gateway G13]', async () => {
    const { socket, until, closed } = dial();
    await until('origin: ');
    socket.write(Buffer.from('\u00FF\u00FD\u0003photos\r\n', 'latin1'));
    expect(await until('token: ')).toContain(`\u00FF\u00FC\u0003`);
    expect(await until('token: ')).toContain(`${HIDE}token: `);
    socket.write('a-token\r\n');
    expect(await until('photos> ')).toContain(`${SHOW}\r\n`);
    socket.write('vm ls\r\n');
    await until('photos  ready  photos.edge.example  -\r\n');
    socket.write(`${DEPLOY}\r\nexit\r\n`);
    await until('status: succeeded\r\n');
    await closed;
    expect(audit.entries).toMatchObject([
      { who: 'origin:photos', what: 'application deploy', details: { way: 'telnet' } },
    ]);
  });

  it('may be sent all at once', async () => {
    const { socket, until } = dial();
    socket.end('photos\r\na-token\r\nvm ls\r\n');
    await until('photos  ready  photos.edge.example  -\r\n');
  });

  it('are not for who has no token of that origin; three times, then no more', async () => {
    const { socket, until, closed } = dial();
    socket.write('photos\r\nwrong\r\nother\r\na-token\r\nphotos\r\n\r\n');
    await until('this is no token of that origin');
    await closed;
    expect(audit.entries).toMatchObject([
      { who: 'origin:photos', what: 'login', object: 'telnet', outcome: 'token_unknown' },
      { who: 'origin:other', outcome: 'token_unknown' },
      { who: 'origin:photos', outcome: 'token_unknown' },
    ]);
  });

  it('have limits: of the time to log in, of silence, of a line, of lines ahead', async () => {
    const slow = dial();
    await slow.until('origin: ');
    await clock.advance(60_000);
    await slow.closed;

    const inside = () => {
      const dialled = dial();
      dialled.socket.write('photos\r\na-token\r\n');
      return dialled;
    };
    const idle = inside();
    await idle.until('photos> ');
    await clock.advance(300_000);
    await idle.until('nothing was typed for 5 min');
    await idle.closed;

    const endless = inside();
    endless.socket.write('x'.repeat(10_000));
    await endless.until('the line is too long');
    await endless.closed;

    applications.outcome = { status: 'running' };
    const hasty = inside();
    hasty.socket.write(`${DEPLOY}\r\n${'vm ls\r\n'.repeat(40)}`);
    await hasty.until('too many lines at once');
    await hasty.closed;
  });
});
