import { expect, it } from 'vitest';
import type { GuestCommands } from '../../src/pool/guest-commands/guest-commands.ts';

const LIMITS = { limitMs: 20_000, outputLimitBytes: 2 ** 20 };
/** What a shell would make something else of. */
const HARMLESS = [
  '$(reboot)',
  '`reboot`',
  '; reboot',
  "it's",
  '"',
  '\\',
  'two\nlines',
  '-n',
  '*',
  '',
  'ñ €',
  '>x',
];

/** What commands in a guest have to do, whatever carries them. The guest has `sh`, `printf`, `cat`, `head`, `sleep`. */
export function guestCommandsSuite(commandsOf: () => GuestCommands): void {
  const exec = async (argv: readonly string[], options: object = {}) => {
    const { stdout, stderr, ...rest } = await commandsOf().exec(argv, { ...LIMITS, ...options });
    return { ...rest, stdout: Buffer.from(stdout).toString(), stderr: Buffer.from(stderr).toString() };
  };

  it('answers, is asked many things at once, and each gets its own answer', async () => {
    await commandsOf().ping();
    const answers = await Promise.all(['a', 'b', 'c', 'd'].map((word) => exec(['printf', word])));
    expect(answers.map(({ stdout }) => stdout)).toEqual(['a', 'b', 'c', 'd']);
  });

  it('gives arguments that a shell would interpret to the program as they are [gateway G14]', async () => {
    const { stdout, status } = await exec(['printf', '[%s]', ...HARMLESS]);
    expect(stdout).toBe(HARMLESS.map((text) => `[${text}]`).join(''));
    expect(status).toBe(0);
  });

  it('tells the status, both outputs, and takes an input and an environment', async () => {
    expect(
      await exec(['sh', '-c', 'cat; echo "$WORD" >&2; exit 7'], {
        input: Buffer.from('in'),
        env: { WORD: 'a b' },
      }),
    ).toEqual({
      status: 7,
      stdout: 'in',
      stderr: 'a b\n',
      truncated: false,
    });
  });

  it('keeps no more of an output than was asked for, and says so', async () => {
    const { stdout, truncated } = await exec(['head', '-c', '300000', '/dev/zero'], {
      outputLimitBytes: 1000,
    });
    expect([stdout.length, truncated]).toEqual([1000, true]);
  });

  it('ends a program that takes too long', async () => {
    await expect(exec(['sleep', '1000'], { limitMs: 100 })).rejects.toMatchObject({
      code: 'guest_command_timeout',
    });
    expect((await exec(['sh', '-c', 'kill -KILL $$'])).status).toBe(137);
  });

  it('tells that there is no such program, and goes on', async () => {
    await expect(exec(['no-such-program'])).rejects.toMatchObject({ code: 'guest_command_failed' });
    await expect(exec(['printf', 'a\0b'])).rejects.toMatchObject({ code: 'guest_command_invalid' });
    expect((await exec(['printf', 'on'])).stdout).toBe('on');
  });

  it('writes a file of many parts', async () => {
    async function* parts() {
      for (const letter of ['a', 'b', 'c']) yield Buffer.from(letter.repeat(150_000));
    }
    const path = '/tmp/orilla-suite-file';
    await commandsOf().writeFile(path, parts(), AbortSignal.timeout(LIMITS.limitMs));
    const { stdout } = await exec(['sh', '-c', 'wc -c <".$0" || wc -c <"$0"', path]);
    expect(Number(stdout)).toBe(450_000);
  });
}
