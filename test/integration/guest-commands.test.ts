import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { deadline, systemClock } from '../../src/base/index.ts';
import type { GuestCommands } from '../../src/pool/guest-commands/guest-commands.ts';
import type { MachineSpec } from '../../src/pool/hypervisor/hypervisor.ts';
import { QmpClient } from '../../src/pool/hypervisor/qemu/qmp.ts';
import { RUN_FILES } from '../../src/pool/hypervisor/qemu/run-files.ts';
import { type Machine, QemuHypervisor } from '../../src/pool/index.ts';
import { guestCommandsSuite } from '../support/guest-commands-suite.ts';
import { QEMU_DEPS } from '../support/qemu-deps.ts';
import { PATIENCE_MS } from '../support/running-orilla.ts';
import { needs } from '../support/tools.ts';
import { storedImage, webImage } from '../support/web-image.ts';

needs('qemu-system-x86_64')('commands in a guest that is a clone', () => {
  let folder: string;
  let spec: MachineSpec;
  let machine: Machine;
  let commands: GuestCommands;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'o-'));
    const image = await storedImage(await webImage(), join(folder, 'images'));
    const hypervisor = hypervisorIn('run');
    const configuration = { cpus: 1, memoryBytes: 192 * 2 ** 20, diskBytes: 0 };
    spec = { name: 'clone', image, configuration };
    const signal = deadline(systemClock, PATIENCE_MS);
    await hypervisor.prepare(spec, signal);
    machine = await hypervisor.start(spec, signal, async () => undefined);
    commands = machine.commands!;
  }, PATIENCE_MS);
  afterAll(async () => {
    await machine?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const hypervisorIn = (runFolder: string) =>
    new QemuHypervisor(QEMU_DEPS, join(folder, runFolder), join(folder, 'templates'));

  guestCommandsSuite(() => commands);

  const say = async (argv: readonly string[]) => {
    const { stdout } = await commands.exec(argv, { limitMs: 20_000, outputLimitBytes: 10_000 });
    return Buffer.from(stdout).toString().trim();
  };

  test('what is not used of the agent is off', async () => {
    expect(await say(['hostname'])).toBe('clone');
    expect(await say(['sh', '-c', 'ps | grep -c "[q]emu-ga.*guest-ssh-add"'])).toBe('1');
  });

  test('are connected to again by who takes the machine over, where somebody had to do with the guest', {
    timeout: PATIENCE_MS,
  }, async () => {
    const signal = deadline(systemClock, PATIENCE_MS);
    const before = hypervisorIn('left');
    const asked = await before.start(spec, signal, async () => undefined);
    const other = await before.start(spec, signal, async () => undefined);
    const isConnected = async ({ id }: Machine) => {
      const monitor = await QmpClient.connect(
        systemClock,
        join(folder, 'left', id, RUN_FILES.monitor),
        signal,
      );
      const devices = (await monitor.execute('query-chardev')) as { label: string; filename: string }[];
      monitor.close();
      return devices.some(({ label, filename }) => label === 'commands0' && filename.startsWith('unix:'));
    };
    await asked.commands?.ping();
    expect(await isConnected(asked)).toBe(true);
    await before.close();
    await vi.waitFor(async () => expect(await isConnected(asked)).toBe(false), PATIENCE_MS);

    const { machines } = await hypervisorIn('left').takeOver();
    expect(machines.map(({ id }) => id).sort()).toEqual([asked.id, other.id].sort());
    await vi.waitFor(async () => expect(await isConnected(asked)).toBe(true), PATIENCE_MS);
    expect(await isConnected(other)).toBe(false);
    for (const left of machines) await left.stop();
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
