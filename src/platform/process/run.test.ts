import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runCommand } from './run.ts';

const node = (script: string) => ['-e', script];

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'orilla-run-'));
});
afterAll(() => rm(folder, { recursive: true }));

describe('runCommand', () => {
  test('gives what the command wrote to both of its outputs', async () => {
    const output = await runCommand(process.execPath, node('console.log("out"); console.error("err")'));
    expect(output).toEqual({ stdout: 'out\n', stderr: 'err\n' });
  });

  test('runs the command in the folder and with the environment that it is given', async () => {
    const { stdout } = await runCommand(
      process.execPath,
      node('console.log(process.cwd(), process.env.COLOR)'),
      {
        cwd: folder,
        env: { COLOR: 'blue' },
      },
    );
    expect(stdout).toBe(`${folder} blue\n`);
  });

  test('streams standard output into a file', async () => {
    const stdoutFile = join(folder, 'out');
    const { stdout } = await runCommand(process.execPath, node('process.stdout.write("x".repeat(300000))'), {
      stdoutFile,
      maxOutputBytes: 10,
    });
    expect(stdout).toBe('');
    expect(await readFile(stdoutFile, 'utf8')).toHaveLength(300_000);
  });

  test('a code other than 0 is command_failed and tells the last lines of standard error', async () => {
    await expect(
      runCommand(process.execPath, node('console.error("no such moon"); process.exitCode = 3')),
    ).rejects.toMatchObject({
      code: 'command_failed',
      message: expect.stringMatching(/ended with code 3: no such moon$/),
    });
  });

  test('a program that does not exist is command_missing', async () => {
    await expect(runCommand('orilla-no-such-program', [])).rejects.toMatchObject({ code: 'command_missing' });
  });

  test('a command that takes too long is ended, also when its child holds the outputs open', async () => {
    const script =
      'require("node:child_process").spawn("sleep", ["2"], { stdio: "inherit" }); setTimeout(() => {}, 20000)';
    await expect(runCommand(process.execPath, node(script), { timeoutMs: 300 })).rejects.toMatchObject({
      code: 'command_timeout',
    });
  });

  test('an abort ends the command and rejects with the reason', async () => {
    const abort = new AbortController();
    const running = runCommand('sleep', ['20'], { signal: abort.signal });
    abort.abort(new Error('enough'));
    await expect(running).rejects.toThrow('enough');
    await expect(runCommand('sleep', ['20'], { signal: abort.signal })).rejects.toThrow('enough');
  });

  test('a command that writes more than the limit has failed', async () => {
    await expect(
      runCommand(process.execPath, node('process.stdout.write("x".repeat(5000))'), { maxOutputBytes: 1000 }),
    ).rejects.toMatchObject({ code: 'command_failed', message: expect.stringContaining('more than 1000 B') });
  });

  test('an output file that cannot be written rejects with the system error', async () => {
    await expect(
      runCommand(process.execPath, node('process.stdout.write("x")'), {
        stdoutFile: join(folder, 'no', 'out'),
      }),
    ).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
