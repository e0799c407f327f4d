import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  createReadStream,
  existsSync,
  globSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
} from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, expect, onTestFinished, test } from 'vitest';
import { systemClock } from '../../src/base/index.ts';
import { endProcess } from '../../src/platform/process/index.ts';
import { MasterKey, unseal } from '../../src/platform/secrets/index.ts';
import { runStateOf } from '../../src/pool/hypervisor/qemu/migration.ts';
import { QmpClient } from '../../src/pool/hypervisor/qemu/qmp.ts';
import {
  type Machine,
  type MachineDisk,
  type MachineSpec,
  QemuHypervisor,
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

const CONFIGURATION: Configuration = { cpus: 1, memoryBytes: 192 * 2 ** 20, diskBytes: 64 * 2 ** 20 };
const SECRET = 'a-secret-in-the-memory-of-the-guest';

needs('qemu-system-x86_64')('a machine that is saved', () => {
  let folder: string;
  let image: StoredImage;
  let hypervisor: QemuHypervisor;
  let count = 0;
  const running: Machine[] = [];
  const signal = () => AbortSignal.timeout(PATIENCE_MS);

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'o-'));
    image = await storedImage(await rootedImage(join(folder, 'rooted')), join(folder, 'images'));
    hypervisor = new QemuHypervisor(QEMU_DEPS, join(folder, 'run'));
  });
  afterEach(async () => {
    await Promise.all(running.splice(0).map((machine) => machine.stop()));
  });
  afterAll(async () => {
    await Promise.all(machinesIn(folder).map((machine) => endProcess(systemClock, machine, 0)));
    rmSync(folder, { recursive: true, force: true });
  });

  const unclaimed = async () => undefined;

  /** A VM of its own for each test. */
  async function newVm(): Promise<{ name: string; disks: readonly MachineDisk[]; saved: string }> {
    count += 1;
    const name = `vm${count}`;
    const disks = await new VmDisks(join(folder, 'vms')).prepare(name, image, CONFIGURATION, signal());
    return { name, disks, saved: join(folder, `saved-${name}`) };
  }
  const specOf = (vm: { name: string; disks: readonly MachineDisk[] }, saved?: string): MachineSpec => ({
    name: vm.name,
    image,
    configuration: CONFIGURATION,
    disks: vm.disks,
    saved,
  });
  async function start(spec: MachineSpec, by = hypervisor): Promise<Machine> {
    const machine = await by.start(spec, signal(), unclaimed);
    running.push(machine);
    await untilReady(systemClock, probeHttp, machine.addresses[0], '/', signal());
    return machine;
  }
  const writeDisk = (machine: Machine, text: string) =>
    inside(machine, `printf %-16s ${text} | dd of=/dev/vda conv=notrunc,fsync 2>/dev/null`);
  const readDisk = async (machine: Machine) =>
    (await inside(machine, 'echo 3 >/proc/sys/vm/drop_caches; head -c 16 /dev/vda')).trim();

  test('goes on with its processes, its clock behind, and what it wrote to its disk', async () => {
    const vm = await newVm();
    const machine = await start(specOf(vm));
    await inside(machine, `echo ${SECRET} >/tmp/secret; sleep 1000 </dev/null >/dev/null 2>&1 &`);
    await writeDisk(machine, 'before');
    await machine.suspend(vm.saved, signal());
    expect(readdirSync(folder).filter((name) => name.startsWith('.'))).toEqual([]);
    expect(readdirSync(vm.saved).sort()).toEqual(['state', 'state.json']);
    expect(statSync(join(vm.saved, 'state')).mode & 0o777).toBe(0o600);

    const restored = await start(specOf(vm, vm.saved));
    expect(await inside(restored, 'cat /tmp/secret; pidof sleep >/dev/null && echo sleeps')).toBe(
      `${SECRET}\nsleeps\n`,
    );
    expect(await readDisk(restored)).toBe('before');
    await writeDisk(restored, 'after');
    expect(await readDisk(restored)).toBe('after');
    expect(readFileSync(vm.disks[0]!.path).subarray(0, 5).toString()).toBe('after');
  });

  test('goes on also when it had begun as a clone, as most machines do', async () => {
    const cloning = new QemuHypervisor(QEMU_DEPS, join(folder, 'run'), join(folder, 'templates'));
    onTestFinished(() => cloning.close());
    const vm = await newVm();
    const machine = await start(specOf(vm), cloning);
    await inside(machine, `echo ${SECRET} >/tmp/secret`);
    await writeDisk(machine, 'before');
    await machine.snapshot(`${vm.saved}-2`, signal());
    await machine.suspend(vm.saved, signal());
    const restored = await start(specOf(vm, vm.saved), cloning);
    expect([await inside(restored, 'cat /tmp/secret'), await readDisk(restored)]).toEqual([
      `${SECRET}\n`,
      'before',
    ]);
  });

  test('powers off in order when its guest is asked to', async () => {
    const machine = await start(specOf(await newVm()));
    await machine.shutDown(PATIENCE_MS);
    expect(await machine.exited).toMatch(/status 0/);
  });

  test('shows nothing of its memory on the disk, and takes no more room than it uses', async () => {
    const vm = await newVm();
    const machine = await start(specOf(vm));
    await inside(machine, `echo ${SECRET} >/tmp/secret`);
    await machine.suspend(vm.saved, signal());
    const path = join(vm.saved, 'state');
    expect(statSync(path).size).toBeLessThan(CONFIGURATION.memoryBytes);
    expect(readFileSync(path).includes(SECRET)).toBe(false);
    let hasIt = false;
    let end = '';
    const { key } = JSON.parse(readFileSync(join(vm.saved, 'state.json'), 'utf8')) as { key: string };
    for await (const plain of unseal(
      createReadStream(path),
      QEMU_DEPS.masterKey,
      `state of a machine ${key}`,
    )) {
      const text = end + plain.toString('latin1');
      hasIt ||= text.includes(SECRET);
      end = text.slice(-SECRET.length);
    }
    expect(hasIt).toBe(true);
  });

  test('does not go on with another master key, nor when its disk was written to since', async () => {
    const vm = await newVm();
    const machine = await start(specOf(vm));
    await machine.suspend(vm.saved, signal());
    const other = new QemuHypervisor(
      { ...QEMU_DEPS, masterKey: new MasterKey(Buffer.alloc(32, 8)) },
      join(folder, 'run'),
    );
    const refused = { code: 'saved_state_unusable' };
    await expect(other.start(specOf(vm, vm.saved), signal(), unclaimed)).rejects.toMatchObject(refused);
    expect(machinesIn(folder)).toEqual([]);

    const since = await start(specOf(vm));
    await writeDisk(since, 'since');
    await since.stop();
    await expect(hypervisor.start(specOf(vm, vm.saved), signal(), unclaimed)).rejects.toMatchObject({
      ...refused,
      message: expect.stringContaining('its disks were changed'),
    });
  });

  test('goes on after a snapshot, with its connections and its disk; the copy has both as they were', async () => {
    const vm = await newVm();
    const machine = await start(specOf(vm));
    await writeDisk(machine, 'before');
    await inside(machine, `echo before >/tmp/word`);
    const [{ host, port }] = machine.addresses;
    const connection = connect(port, host);
    onTestFinished(() => void connection.destroy());
    await once(connection, 'connect');
    connection.write('GET / HTTP/1.1\r\n');
    await machine.snapshot(vm.saved, signal());
    connection.end('Host: x\r\nConnection: close\r\n\r\n');
    let answer = '';
    for await (const text of connection.setEncoding('utf8')) answer += text;
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK[^]*from the VM\n$/);

    await writeDisk(machine, 'after');
    await inside(machine, `echo after >/tmp/word`);
    expect(await readDisk(machine)).toBe('after');
    // Another one, of what it is now.
    await machine.snapshot(`${vm.saved}-2`, signal());
    expect(await readDisk(machine)).toBe('after');
    await machine.stop();

    const disks = new VmDisks(join(folder, 'vms'));
    for (const [saved, word] of [
      [vm.saved, 'before'],
      [`${vm.saved}-2`, 'after'],
    ] as const) {
      await disks.restore(vm.disks, join(saved, 'disks'), signal());
      const restored = await start(specOf(vm, saved));
      expect([await inside(restored, 'cat /tmp/word'), await readDisk(restored)]).toEqual([
        `${word}\n`,
        word,
      ]);
      await restored.stop();
    }
  });

  test('goes on when it is called off in the midst of it, or when there is no room', async (context) => {
    const vm = await newVm();
    const machine = await start(specOf(vm));
    await inside(machine, 'echo kept >/tmp/word');
    const goesOn = async () => {
      expect(await inside(machine, 'cat /tmp/word')).toBe('kept\n');
      await writeDisk(machine, 'kept');
      expect(await readDisk(machine)).toBe('kept');
    };
    const calledOff = new AbortController();
    const suspending = machine.suspend(vm.saved, calledOff.signal);
    const refused = expect(suspending).rejects.toThrow('called off');
    const draft = join(folder, `.saved-${vm.name}`);
    await expect
      .poll(() => existsSync(join(draft, 'state')), { timeout: PATIENCE_MS, interval: 1 })
      .toBe(true);
    calledOff.abort(new Error('called off'));
    await refused;
    expect([existsSync(draft), existsSync(vm.saved)]).toEqual([false, false]);
    await goesOn();

    const small = join(smallDisk(context), 'saved');
    for (const way of ['suspend', 'snapshot'] as const) {
      await expect(machine[way](small, signal())).rejects.toMatchObject({ code: 'disk_full' });
      expect(existsSync(small)).toBe(false);
      await goesOn();
    }
  });

  test('has its disk for itself: QEMU refuses it to another Orilla, too', async () => {
    const vm = await newVm();
    await start(specOf(vm));
    const stranger = new QemuHypervisor(QEMU_DEPS, join(folder, 'run-2'));
    await expect(stranger.start(specOf(vm), signal(), unclaimed)).rejects.toMatchObject({
      code: 'machine_failed',
      message: expect.stringContaining('Failed to get "write" lock'),
    });
  });

  test.for([
    ['while its state is written', 'suspend', 'state', ['paused', 'finish-migrate', 'postmigrate']],
    ['while its disks are copied', 'snapshot', 'disks', ['postmigrate']],
  ] as const)(
    'by a process that is killed %s goes on in the next one, and can be saved by that',
    async ([, action, file, states]) => {
      const vm = await newVm();
      // Enough that there is a time in which it is copied.
      await writeFile(vm.disks[0]!.path, Buffer.alloc(CONFIGURATION.diskBytes, 'full '));
      const run = join(folder, action);
      const saver = startIn(run, specOf(vm));
      const machine = await saver.started;
      await inside(machine, 'echo kept >/tmp/word');
      saver.call(action, vm.saved);
      const draft = join(folder, `.saved-${vm.name}`, file);
      await expect.poll(() => existsSync(draft), { timeout: PATIENCE_MS, interval: 1 }).toBe(true);
      await saver.kill();
      expect(states).toContain(await stateOf(run, machine.id));

      const { machines } = await new QemuHypervisor(QEMU_DEPS, run).takeOver();
      expect(machines).toMatchObject([{ pid: machine.pid, addresses: machine.addresses }]);
      const [left] = machines as [Machine];
      running.push(left);
      expect(await stateOf(run, machine.id)).toBe('running');
      expect(await inside(left, 'cat /tmp/word')).toBe('kept\n');
      await writeDisk(left, 'kept');
      await left.suspend(vm.saved, signal());
      expect(existsSync(dirname(draft))).toBe(false);
      const restored = await start(specOf(vm, vm.saved));
      expect([await inside(restored, 'cat /tmp/word'), await readDisk(restored)]).toEqual(['kept\n', 'kept']);
    },
  );

  test('and on its way back when its process is killed, is ended, and can go on once more', async () => {
    const vm = await newVm();
    await (await start(specOf(vm))).suspend(vm.saved, signal());
    const run = join(folder, 'restore');
    const restorer = startIn(run, specOf(vm, vm.saved));
    restorer.started.catch(() => undefined);
    const isRestoring = () => globSync('*/mig', { cwd: run }).length > 0;
    await expect.poll(isRestoring, { timeout: PATIENCE_MS, interval: 1 }).toBe(true);
    await restorer.kill();
    // It may have come to its end by itself, when nobody gave it the rest of its state.
    const { machines, endedCount } = await new QemuHypervisor(QEMU_DEPS, run).takeOver();
    expect(machines).toEqual([]);
    expect(endedCount).toBeLessThanOrEqual(1);
    expect(machinesIn(run)).toEqual([]);
    await start(specOf(vm, vm.saved));
  });

  async function stateOf(run: string, id: string): Promise<string | undefined> {
    const monitor = await QmpClient.connect(systemClock, join(run, id, 'qmp'), signal());
    try {
      return await runStateOf(monitor);
    } finally {
      monitor.close();
    }
  }

  /** A process that starts a machine as the product does. */
  function startIn(run: string, spec: MachineSpec) {
    const urlOf = (...path: string[]) => pathToFileURL(join(import.meta.dirname, '..', ...path)).href;
    const program = `
      const { QemuHypervisor } = await import('${urlOf('..', 'src', 'pool', 'index.ts')}');
      const { QEMU_DEPS } = await import('${urlOf('support', 'qemu-deps.ts')}');
      const { once } = await import('node:events');
      const signal = new AbortController().signal;
      const hypervisor = new QemuHypervisor(QEMU_DEPS, process.argv[1]);
      const machine = await hypervisor.start(JSON.parse(process.argv[2]), signal, async () => undefined);
      console.log(JSON.stringify({ id: machine.id, pid: machine.pid, addresses: machine.addresses }));
      const [order] = await once(process.stdin, 'data');
      const [action, folder] = JSON.parse(order);
      await machine[action](folder, signal);`;
    const args = ['--input-type=module', '-e', program, run, JSON.stringify(spec)];
    const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    const closed = once(child, 'close');
    const kill = async () => {
      child.kill('SIGKILL');
      await closed;
    };
    onTestFinished(kill);
    const started = once(createInterface({ input: child.stdout }), 'line', { signal: signal() }).then(
      async ([line]) => {
        const machine = JSON.parse(String(line)) as Machine;
        await untilReady(systemClock, probeHttp, machine.addresses[0], '/', signal());
        return machine;
      },
    );
    return { started, kill, call: (...order: string[]) => void child.stdin.write(JSON.stringify(order)) };
  }
});
