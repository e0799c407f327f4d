import { once } from 'node:events';
import { chmod, chown, mkdir, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { type Ended, OrillaCommand, STACK_TRACE } from '../support/orilla-command.ts';
import { configuration, RunningOrilla } from '../support/running-orilla.ts';
import { smallDisk } from '../support/small-disk.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

// What `orilla up` says when it cannot run. No guest is started.

const NOBODY = 65_534;
const isRoot = process.getuid?.() === 0;

let folder: string;
let configFile: string;

beforeEach(async () => {
  folder = await temporaryFolder();
  configFile = join(folder, 'orilla.yaml');
  await writeFile(configFile, configuration({ origins: { photos: { port: 9 } } }));
});

const up = (data = join(folder, 'data'), uid?: number): Promise<Ended> =>
  new OrillaCommand(['up', '--config', configFile, '--data', data], {
    cwd: folder,
    ...(uid !== undefined && { uid }),
  }).ended;

/** One message for a person, status 1, and nothing else. */
const expectFailure = (ended: Ended, message: RegExp, code = 1) => {
  expect(ended.stderr).toMatch(message);
  expect(ended.stderr).not.toMatch(STACK_TRACE);
  expect(ended.stderr).toMatch(/^orilla: /);
  expect(ended.code).toBe(code);
};

describe('a port that is taken', () => {
  test.for(['gateway', 'api', 'control'] as const)('of the %s is named, and what to do', async (which) => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    try {
      const listen = `127.0.0.1:${port}`;
      const config = JSON.parse(configuration({ origins: { photos: { port: 9 } } })) as {
        gateway: { listen: string; api: { listen: string } };
        control: { listen: string };
      };
      if (which === 'gateway') config.gateway.listen = listen;
      else if (which === 'api') config.gateway.api.listen = listen;
      else config.control.listen = listen;
      await writeFile(configFile, JSON.stringify(config));
      expectFailure(await up(), new RegExp(`127\\.0\\.0\\.1:${port} is taken.*--port-offset`));
    } finally {
      other.close();
    }
    // The failed start has given back what it had: the next one succeeds.
    await using orilla = await RunningOrilla.start({ folder, origins: { photos: { port: 9 } } });
    expect((await orilla.status()).ready).toBe(true);
  });
});

describe('a configuration that is wrong', () => {
  test.for([
    ['broken YAML', 'gateway:\n  listen: [127.0.0.1:0\n', /orilla\.yaml:\d+: /],
    [
      'an unknown key',
      'gateway:\n  edgeDomain: edge.example\n  origins: {}\n  edgDomain: typo.example\n',
      /orilla\.yaml:4: gateway\.edgDomain: unknown key/,
    ],
    [
      'a value of the wrong kind',
      'gateway:\n  edgeDomain: edge.example\n  origins:\n    photos:\n      hosts: [photos.example]\n      upstream: ftp://192.0.2.7\n',
      /orilla\.yaml:6: gateway\.origins\.photos\.upstream: got "ftp:\/\/192\.0\.2\.7": expected the URL of a server/,
    ],
    ['no gateway at all', 'log: info\n', /orilla\.yaml:1: gateway: missing/],
    ['nothing in the file', '', /orilla\.yaml:1: gateway: missing/],
  ] as const)('for %s: file, line, key, value, expectation, and status 2', async ([, text, message]) => {
    await writeFile(configFile, text);
    const ended = await up();
    expectFailure(ended, message, 2);
    expect(ended.stdout).toBe('');
  });

  test('that is not there: its path, and status 2', async () => {
    configFile = join(folder, 'other.yaml');
    expectFailure(await up(), /cannot read the configuration .*other\.yaml/, 2);
  });

  test('whose ports are moved beyond the last: status 2', async () => {
    await writeFile(configFile, '{gateway: {listen: "127.0.0.1:40000", edgeDomain: e.example, origins: {}}}');
    const ended = await new OrillaCommand(['up', '--config', configFile, '--port-offset', '30000']).ended;
    expectFailure(ended, /--port-offset 30000 moves a port to 70000/, 2);
  });
});

describe('a data folder that cannot be used', () => {
  test.skipIf(!isRoot)('because this user may not write there: the folder is named', async () => {
    const data = join(folder, 'data');
    await mkdir(data, { mode: 0o755 });
    await chmod(folder, 0o755);
    const ended = await up(data, NOBODY);
    expectFailure(ended, /data/);
    expect(ended.stderr).toContain(data);
  });

  test.skipIf(!isRoot)('because it cannot be made by this user: the folder is named', async () => {
    await chmod(folder, 0o755);
    const ended = await up(join(folder, 'data'), NOBODY);
    expectFailure(ended, /EACCES|permission denied/);
    expect(ended.stderr).toContain(join(folder, 'data'));
  });

  test('because it is a file', async () => {
    await writeFile(join(folder, 'data'), '');
    expectFailure(await up(), /the data folder .*data cannot be made: EEXIST/);
  });

  test('because its path is too long for a Unix socket: that is said, at once', async () => {
    expectFailure(await up(join(folder, 'x'.repeat(100))), /too long for a Unix socket.*at most \d+ octets/);
  });

  test('because its disk is full: the file that did not fit is named', async (context) => {
    const data = smallDisk(context, 'size=4k');
    await writeFile(join(data, 'filler'), Buffer.alloc(4096));
    expectFailure(await up(data), /orilla\.db.*full|no space/i);
  });

  test('because its database is none: the file is named', async () => {
    await mkdir(join(folder, 'data'));
    await writeFile(join(folder, 'data', 'orilla.db'), 'no database\n'.repeat(100));
    expectFailure(await up(), /orilla\.db/);
  });
});

test('an unprivileged user can run it, without any right of root', { skip: !isRoot }, async () => {
  const home = join(folder, 'home');
  await mkdir(home);
  await chmod(folder, 0o755);
  const config = configuration({ origins: { photos: { port: 9 } } });
  await writeFile(join(home, 'orilla.yaml'), config);
  for (const path of [home, join(home, 'orilla.yaml')]) await chown(path, NOBODY, NOBODY);
  const running = new OrillaCommand(
    ['up', '--config', join(home, 'orilla.yaml'), '--data', join(home, 'd')],
    {
      cwd: home,
      uid: NOBODY,
    },
  );
  try {
    await expect.poll(() => running.stdout, { timeout: 60_000 }).toContain('orilla is up');
  } finally {
    running.child.kill('SIGTERM');
  }
  expect(await running.ended).toMatchObject({ code: 0, stderr: '' });
});
