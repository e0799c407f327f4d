import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { readdir, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
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
import { inside } from '../support/rooted-guests.ts';
import { rootedImage } from '../support/rooted-image.ts';
import { machinesIn, PATIENCE_MS } from '../support/running-orilla.ts';
import { smallDisk } from '../support/small-disk.ts';
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
    await hypervisor.close();
    said = '';
  });
  afterAll(async () => {
    await Promise.all(machinesIn(folder).map((machine) => endProcess(systemClock, machine, 0)));
    rmSync(folder, { recursive: true, force: true });
  });

  const hypervisorIn = (run: string, templateFolder = templates()) =>
    new QemuHypervisor({ ...QEMU_DEPS, log }, join(folder, run), templateFolder);
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

  test('of another configuration is booted, and is a clone of itself when it is there; so are the next', async () => {
    const larger = { ...CONFIGURATION, memoryBytes: 208 * 2 ** 20 };
    const claimed: string[] = [];
    const first = await hypervisor.start(
      await specOf('first', larger),
      signal(),
      async (id) => void claimed.push(id),
    );
    running.push(first);
    expect(said).toContain('template taken');
    expect(first.origin).toBe('boot');
    expect(first.id).toBe(claimed.at(-1));
    expect(machinesIn(folder)).toMatchObject([{ pid: first.pid }]);
    const second = await start('second', larger);
    expect(second.origin).toBe('clone');
    const script = `cat /proc/sys/kernel/hostname /etc/orilla-generation
      head -c 16 /dev/urandom | md5sum`;
    const [one, two] = await Promise.all([first, second].map((machine) => inside(machine, script)));
    const [own = [], others = []] = [one, two].map((lines) => lines?.trim().split('\n'));
    expect([own[0], others[0]]).toEqual(['first', 'second']);
    for (const line of [1, 2]) expect(own[line]).not.toBe(others[line]);
  });

  test('waits while the template is being made of another, and both serve', async () => {
    const larger = { ...CONFIGURATION, memoryBytes: 216 * 2 ** 20 };
    const both = await Promise.all([start('one', larger), start('two', larger)]);
    expect(both.map(({ origin }) => origin).sort()).toEqual(['boot', 'clone']);
    expect(said.match(/template taken/g)).toHaveLength(1);
    expect(isClone(await start('three', larger))).toBe(true);
  });

  test('that is called off while its template is made leaves no machine and no file', async () => {
    // From the first instant to after the template was taken.
    for (const afterMs of [0, 50, 300, 1500, 2500]) {
      const other = { ...CONFIGURATION, memoryBytes: 224 * 2 ** 20 };
      const calledOff = new AbortController();
      const starting = hypervisor.start(await specOf('off', other), calledOff.signal, async () => undefined);
      const outcome = starting.then(
        (machine) => machine.stop(),
        (error: Error) => expect(error.message).toBe('called off'),
      );
      await systemClock.sleep(afterMs);
      calledOff.abort(new Error('called off'));
      await outcome;
      expect(machinesIn(folder)).toEqual([]);
      expect(readdirSync(join(folder, 'run'))).toEqual([]);
    }
  });

  test('goes on as it is when there is no room for its template', async (context) => {
    const small = smallDisk(context, 'size=900k');
    const crowded = hypervisorIn('run', small);
    const machine = await crowded.start(await specOf('crowded'), signal(), async () => undefined);
    running.push(machine);
    expect(machine.origin).toBe('boot');
    expect(said).toContain('no room for a template');
    await untilReady(systemClock, probeHttp, machine.addresses[0], '/', signal());
    expect(readdirSync(small)).toEqual([]);
  });

  test('goes on as it is when its state cannot be kept', async (context) => {
    // Room for the memory, which has holes, by the file system's count; none for another file.
    const small = smallDisk(context, 'size=1g,nr_inodes=3');
    const crowded = hypervisorIn('run', small);
    const machine = await crowded.start(await specOf('crowded'), signal(), async () => undefined);
    running.push(machine);
    expect(said).toContain('the state of a machine was not kept');
    expect(await inside(machine, 'cat /proc/sys/kernel/hostname')).toBe('crowded\n');
    const generation = await inside(machine, 'cat /etc/orilla-generation');
    expect(generation).toMatch(/^[0-9a-z]{16}\n$/);
    expect(readdirSync(small)).toEqual([]);
  });

  test('that wrote to its disk before it answered goes on as it is, with what it wrote', async () => {
    const writing = await rootedImage(join(folder, 'writing'), (init) =>
      init.replace('announced=\n', 'announced=\necho mine >/dev/vda\n'),
    );
    const stored = await storedImage(writing, join(folder, 'images'));
    for (const isFirst of [true, false]) {
      const spec = { ...(await specOf(isFirst ? 'one' : 'two')), image: stored };
      const machine = await hypervisor.start(spec, signal(), async () => undefined);
      running.push(machine);
      await untilReady(systemClock, probeHttp, machine.addresses[0], '/', signal());
      expect(machine.origin).toBe('boot');
      expect(said.includes('"isPossible":false')).toBe(isFirst);
      expect(await inside(machine, 'head -c 4 /dev/vda')).toBe('mine');
      await machine.stop();
      said = '';
    }
  });

  /** The folder of the template for `CONFIGURATION`. */
  async function ownTemplate(): Promise<string> {
    // Until nothing of it is written any more.
    await hypervisor.close();
    for (const key of await readdir(templates())) {
      const folderOfKey = join(templates(), key);
      const { size } = await stat(join(folderOfKey, 'memory'));
      if (size === CONFIGURATION.memoryBytes) return folderOfKey;
    }
    throw new Error('there is no template');
  }

  test('is booted where the template is damaged, and that is made anew', async () => {
    const template = await ownTemplate();
    await truncate(join(template, 'state'), 1000);
    expect((await start('booted')).origin).toBe('boot');
    expect((await start('next')).origin).toBe('clone');
  });

  test('is booted where the guest does not come to itself, and the template is made anew', async () => {
    await hypervisor.prepare(await specOf('again'), signal());
    const template = await ownTemplate();
    const memory = join(template, 'memory');
    // Another disk gives back zeros, and nothing tells.
    await truncate(memory, 0);
    await truncate(memory, CONFIGURATION.memoryBytes);
    const path = join(template, 'template.json');
    const record = JSON.parse(readFileSync(path, 'utf8')) as object;
    await writeFile(path, JSON.stringify({ ...record, memoryChangedMs: (await stat(memory)).ctimeMs }));
    expect((await start('booted')).origin).toBe('boot');
    expect(said).toContain('template discarded');
    expect((await start('next')).origin).toBe('clone');
  });

  test('is booted where the host has no time for it, and the template stays', async () => {
    await hypervisor.prepare(await specOf('again'), signal());
    const starting = start('late');
    const [clone] = await vi.waitUntil(() => {
      const machines = machinesIn(folder);
      return machines.length > 0 && machines;
    }, PATIENCE_MS);
    process.kill(clone!.pid, 'SIGSTOP');
    expect((await starting).origin).toBe('boot');
    expect(said).toContain('a clone was late');
    expect((await start('next')).origin).toBe('clone');
  });

  test('of a guest without an agent is booted each time, and tried once', async () => {
    const silent = await rootedImage(join(folder, 'silent'), (init) =>
      init.replace('orilla-agent "$server" &', ':'),
    );
    image = await storedImage(silent, join(folder, 'images'));
    expect((await start('first')).origin).toBe('boot');
    expect(said).toContain('"isPossible":false');
    said = '';
    expect((await start('second')).origin).toBe('boot');
    await hypervisor.prepare(await specOf('again'), signal());
    expect(said).toBe('');
  });
});
