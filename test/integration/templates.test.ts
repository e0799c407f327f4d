import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { readdir, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../src/base/index.ts';
import { endProcess } from '../../src/platform/process/index.ts';
import { createLog } from '../../src/platform/telemetry/index.ts';
import {
  type Machine,
  QemuHypervisor,
  type StartedMachine,
  type StoredImage,
  VmDisks,
} from '../../src/pool/index.ts';
import { probeHttp, untilReady } from '../../src/pool/readiness.ts';
import type { Configuration } from '../../src/pool/schema.ts';
import { QEMU_DEPS } from '../support/qemu-deps.ts';
import { rootedImage } from '../support/rooted-image.ts';
import { machinesIn, PATIENCE_MS } from '../support/running-orilla.ts';
import { needs } from '../support/tools.ts';
import { storedImage } from '../support/web-image.ts';

const CONFIGURATION: Configuration = { cpus: 1, memoryBytes: 192 * 2 ** 20, diskBytes: 2 ** 20 };

needs('qemu-system-x86_64')('a machine made from a template', () => {
  let folder: string;
  let image: StoredImage;
  let hypervisor: QemuHypervisor;
  let said = '';
  const running: Machine[] = [];
  const signal = () => AbortSignal.timeout(PATIENCE_MS);
  const log = createLog('info', {
    write: (line: string) => {
      said += line;
    },
  });

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'o-'));
    image = await storedImage(await rootedImage(join(folder, 'rooted')), join(folder, 'images'));
    hypervisor = hypervisorIn('run');
    await hypervisor.prepare(await specOf('first'), signal());
  });
  afterEach(async () => {
    await Promise.all(running.splice(0).map((machine) => machine.stop()));
    said = '';
  });
  afterAll(async () => {
    await Promise.all(machinesIn(folder).map((machine) => endProcess(systemClock, machine, 0)));
    rmSync(folder, { recursive: true, force: true });
  });

  const hypervisorIn = (run: string) =>
    new QemuHypervisor({ ...QEMU_DEPS, log }, join(folder, run), templates());
  const templates = () => join(folder, 'templates');
  /** With a disk of its own, to which nobody has written. */
  async function specOf(name: string, configuration = CONFIGURATION) {
    const disks = new VmDisks(join(folder, 'vms'));
    await disks.remove(name);
    const prepared = await disks.prepare(name, image, configuration, signal());
    return { name, image, configuration, disks: prepared };
  }

  async function start(name: string, configuration = CONFIGURATION): Promise<StartedMachine> {
    const spec = await specOf(name, configuration);
    const machine = await hypervisor.start(spec, signal(), async () => undefined);
    running.push(machine);
    await untilReady(systemClock, probeHttp, machine.addresses[0], '/', signal());
    return machine;
  }
  const inside = async ({ addresses: [{ host, port }] }: Machine, script: string) => {
    const options = { method: 'POST', body: script, signal: signal() };
    return (await fetch(`http://${host}:${port}/cgi-bin/run`, options)).text();
  };
  const isClone = ({ origin }: StartedMachine) => origin === 'clone';

  test('answers, while what it was made from is no more', async () => {
    const machine = await start('clone');
    expect(isClone(machine)).toBe(true);
    const [{ host, port }] = machine.addresses;
    expect(await (await fetch(`http://${host}:${port}/`)).text()).toBe('from the VM\n');
    expect(readdirSync(join(folder, 'run'))).toEqual([machine.id]);
  });

  test('has a name, a generation, randomness and the time of its own', async () => {
    const clones = await Promise.all(['one', 'two'].map((id) => start(id)));
    expect(clones.every(isClone)).toBe(true);
    const script = `cat /proc/sys/kernel/hostname /etc/orilla-generation
      head -c 16 /dev/urandom | md5sum
      cat /proc/sys/kernel/random/uuid
      date +%s`;
    const [one = [], two = []] = await Promise.all(
      clones.map(async (clone) => (await inside(clone, script)).trim().split('\n')),
    );
    expect([one[0], two[0]]).toEqual(['one', 'two']);
    for (const line of [1, 2, 3]) expect(one[line]).not.toBe(two[line]);
    for (const [, , , , seconds] of [one, two]) {
      expect(Math.abs(Number(seconds) - systemClock.nowMs() / 1000)).toBeLessThan(10);
    }
  });

  test('draws other random numbers than its sibling from the very first on', async () => {
    // Nobody waits here for the kernel to take from its pool by itself, as it does in the first minutes all few seconds.
    const drawn = await Promise.all(
      ['a', 'b', 'c'].map(async (id) => inside(await start(id), 'head -c 16 /dev/urandom | md5sum')),
    );
    expect(new Set(drawn).size).toBe(3);
  });

  test('writes to a memory and a disk of its own', async () => {
    const [one, two] = await Promise.all([start('one'), start('two')]);
    await inside(one, 'echo mine >/tmp/mine; echo mine >/dev/vda');
    expect(await inside(two, 'ls /tmp; head -c 4 /dev/vda | tr -d "\\\\0"')).toBe('');
    await one.stop();
    const three = await start('three');
    expect(await inside(three, 'ls /tmp; head -c 4 /dev/vda | tr -d "\\\\0"')).toBe('');
    expect(isClone(three)).toBe(true);
  });

  test('takes of the host little more memory than it has changed', async () => {
    const clones = await Promise.all(['one', 'two', 'three'].map((id) => start(id)));
    const share = (machine: Machine) =>
      Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${machine.pid}/smaps_rollup`, 'utf8'))?.[1]) / 1024;
    expect(Math.max(...clones.map(share))).toBeLessThan(100);
  });

  test('of another configuration is booted, and a template made beside it for the next', async () => {
    const larger = { ...CONFIGURATION, memoryBytes: 208 * 2 ** 20 };
    const first = await start('first', larger);
    expect(isClone(first)).toBe(false);
    while (!said.includes('template tried')) await systemClock.sleep(50);
    const second = await start('second', larger);
    expect(isClone(second)).toBe(true);
  });

  test('that is stopped while a template is made of its like leaves no machine behind', async () => {
    const other = { ...CONFIGURATION, memoryBytes: 224 * 2 ** 20 };
    const first = await start('first', other);
    while (!readdirSync(join(folder, 'run')).some((name) => name.startsWith('template-')))
      await systemClock.sleep(20);
    await first.stop();
    expect(machinesIn(folder)).toEqual([]);
    expect(readdirSync(join(folder, 'run'))).toEqual([]);
    expect(said).not.toContain('no template made');
  });

  /** The folder of the template for `CONFIGURATION`. */
  async function ownTemplate(): Promise<string> {
    for (const key of await readdir(templates())) {
      const folderOfKey = join(templates(), key);
      const { size } = await stat(join(folderOfKey, 'memory'));
      if (size === CONFIGURATION.memoryBytes) return folderOfKey;
    }
    throw new Error('there is no template');
  }

  test('is booted where the template is damaged, and that is thrown away', async () => {
    const template = await ownTemplate();
    await truncate(join(template, 'state'), 1000);
    expect(isClone(await start('booted'))).toBe(false);
    expect(existsSync(template)).toBe(false);
  });

  test('is booted where the guest does not come to itself, and the template is thrown away', async () => {
    await hypervisor.prepare(await specOf('again'), signal());
    const template = await ownTemplate();
    const memory = join(template, 'memory');
    // Another disk gives back zeros, and nothing tells.
    await truncate(memory, 0);
    await truncate(memory, CONFIGURATION.memoryBytes);
    const path = join(template, 'template.json');
    const record = JSON.parse(readFileSync(path, 'utf8')) as object;
    await writeFile(path, JSON.stringify({ ...record, memoryChangedMs: (await stat(memory)).ctimeMs }));
    expect(isClone(await start('booted'))).toBe(false);
    expect(said).toContain('template discarded');
    expect(existsSync(template)).toBe(false);
  });

  test('of a guest without an agent is booted each time', async () => {
    const silent = await rootedImage(join(folder, 'silent'), (init) =>
      init.replace('orilla-agent "$server" &', ':'),
    );
    image = await storedImage(silent, join(folder, 'images'));
    await hypervisor.prepare(await specOf('first'), signal());
    expect(said).toContain('"isMade":false');
    said = '';
    // It is not tried again, neither here nor beside the machine.
    await hypervisor.prepare(await specOf('again'), signal());
    expect(isClone(await start('booted'))).toBe(false);
    expect(said).toBe('');
  });
});
