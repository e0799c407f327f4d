import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { deadline, systemClock, systemRandom } from '../../src/base/index.ts';
import { AgentCommands } from '../../src/pool/guest-commands/agent-commands.ts';
import { type Machine, QemuHypervisor } from '../../src/pool/index.ts';
import { guestCommandsSuite } from '../support/guest-commands-suite.ts';
import { QEMU_DEPS } from '../support/qemu-deps.ts';
import { PATIENCE_MS } from '../support/running-orilla.ts';
import { needs } from '../support/tools.ts';
import { storedImage, webImage } from '../support/web-image.ts';

needs('qemu-system-x86_64')('commands in a guest that is a clone', () => {
  let folder: string;
  let machine: Machine;
  let commands: AgentCommands;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'o-'));
    const image = await storedImage(await webImage(), join(folder, 'images'));
    const hypervisor = new QemuHypervisor(QEMU_DEPS, join(folder, 'run'), join(folder, 'templates'));
    const configuration = { cpus: 1, memoryBytes: 192 * 2 ** 20, diskBytes: 0 };
    const spec = { name: 'clone', image, configuration };
    const signal = deadline(systemClock, PATIENCE_MS);
    await hypervisor.prepare(spec, signal);
    machine = await hypervisor.start(spec, signal, async () => undefined);
    commands = new AgentCommands({ clock: systemClock, random: systemRandom }, machine.commandSocket!);
  }, PATIENCE_MS);
  afterAll(async () => {
    commands?.close();
    await machine?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  guestCommandsSuite(() => commands);

  const say = async (argv: readonly string[]) => {
    const { stdout } = await commands.exec(argv, { limitMs: 20_000, outputLimitBytes: 10_000 });
    return Buffer.from(stdout).toString().trim();
  };

  test('what is not used of the agent is off', async () => {
    expect(await say(['hostname'])).toBe('clone');
    expect(await say(['sh', '-c', 'ps | grep -c "[q]emu-ga.*guest-ssh-add"'])).toBe('1');
  });

  test('the guest’s time can be set, and the guest can be asked to end', {
    timeout: PATIENCE_MS,
  }, async () => {
    await commands.setTime(Date.UTC(2040, 0, 1));
    expect(await say(['date', '-u', '+%Y'])).toBe('2040');
    await commands.shutDown();
    expect(await machine.exited).toMatch(/status 0/);
  });
});
