import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { systemClock } from '../../src/base/index.ts';
import { endProcess } from '../../src/platform/process/index.ts';
import { NICENESS } from '../../src/pool/hypervisor/qemu/qemu-process.ts';
import { type Machine, QemuHypervisor, type StoredImage, VmDisks } from '../../src/pool/index.ts';
import { probeHttp, untilReady } from '../../src/pool/readiness.ts';
import type { Configuration } from '../../src/pool/schema.ts';
import { hypervisorSuite } from '../support/hypervisor-suite.ts';
import { QEMU_DEPS } from '../support/qemu-deps.ts';
import { machinesIn, PATIENCE_MS } from '../support/running-orilla.ts';
import { smallDisk } from '../support/small-disk.ts';
import { needs, toolPath } from '../support/tools.ts';
import { storedImage, webImage } from '../support/web-image.ts';

const SMALL: Configuration = { cpus: 1, memoryBytes: 192 * 2 ** 20, diskBytes: 0 };

needs('qemu-system-x86_64')('QEMU', () => {
  let folder: string;
  let image: StoredImage;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'o-'));
    image = await storedImage(await webImage(), join(folder, 'images'));
  });
  afterAll(async () => {
    await Promise.all(machinesIn(folder).map((machine) => endProcess(systemClock, machine, 0)));
    rmSync(folder, { recursive: true, force: true });
  });

  const hypervisorIn = (run: string) => new QemuHypervisor(QEMU_DEPS, run);
  const hypervisor = () => hypervisorIn(join(folder, 'run'));
  const specOf = (name: string, configuration = SMALL) => ({ name, image, configuration });
  const unclaimed = async () => undefined;
  const signal = () => AbortSignal.timeout(PATIENCE_MS);
  const answering = ({ addresses }: Machine) =>
    untilReady(systemClock, probeHttp, addresses[0], '/', signal());

  describe('as a hypervisor', () => {
    hypervisorSuite(hypervisor, specOf);

    test('has machines that yield to what serves all, with all their threads', async () => {
      const machine = await hypervisor().start(specOf('yields'), signal(), unclaimed);
      const tasks = readdirSync(`/proc/${machine.pid}/task`);
      expect(tasks.length).toBeGreaterThan(1);
      // proc(5): the nice value is the 19th, the 17th after the name.
      const nice = (task: string) =>
        readFileSync(`/proc/${machine.pid}/task/${task}/stat`, 'utf8').split(') ')[1]?.split(' ')[16];
      expect(new Set(tasks.map(nice))).toEqual(new Set([String(NICENESS)]));
      await machine.stop();
    });

    test('leaves no process and no run directory behind', () => {
      expect(machinesIn(folder)).toEqual([]);
      expect(readdirSync(join(folder, 'run'))).toEqual([]);
    });
  });

  describe('as a hypervisor that finds no way to confine', () => {
    // Of all programs only these are there; no namespace can be made without the others.
    beforeAll(() => {
      const programs = join(folder, 'programs');
      mkdirSync(programs);
      for (const tool of ['qemu-system-x86_64', 'cp'] as const) {
        symlinkSync(toolPath(tool) ?? '', join(programs, tool));
      }
      vi.stubEnv('PATH', programs);
    });
    afterAll(() => void vi.unstubAllEnvs());

    hypervisorSuite(hypervisor, specOf);

    test('reaches its guests through loopback', async () => {
      const machine = await hypervisor().start(specOf('ports'), signal(), unclaimed);
      expect(machine.addresses.map(({ host }) => host)).toEqual(
        Array.from({ length: 16 }, () => '127.0.0.1'),
      );
      await machine.stop();
    });

    test('makes machines from templates all the same', async () => {
      const cloning = new QemuHypervisor(QEMU_DEPS, join(folder, 'run'), join(folder, 'templates'));
      await cloning.prepare(specOf('template'), signal());
      const machine = await cloning.start(specOf('clone'), signal(), unclaimed);
      await answering(machine);
      expect(readFileSync(`/proc/${machine.pid}/cmdline`, 'utf8').split('\0')).toContain('-incoming');
      await machine.stop();
    });
  });

  describe('a guest', () => {
    let machine: Machine;
    const configuration = { cpus: 2, memoryBytes: 256 * 2 ** 20, diskBytes: 48 * 2 ** 20 };

    beforeAll(async () => {
      const spec = specOf('inside', configuration);
      const disks = await new VmDisks(join(folder, 'vms')).prepare('inside', image, configuration, signal());
      machine = await hypervisor().start({ ...spec, disks }, signal(), unclaimed);
      await answering(machine);
    });
    afterAll(() => machine?.stop());

    const inside = async (path: string) => {
      const [{ host, port }] = machine.addresses;
      return (await fetch(`http://${host}:${port}/cgi-bin/${path}`)).text();
    };

    test('has the CPUs, the memory and the disk of its configuration [gateway G6]', async () => {
      const { name, cpus, memoryBytes, diskBytes } = JSON.parse(await inside('machine')) as Configuration & {
        name: string;
      };
      expect({ name, cpus, diskBytes }).toEqual({ name: 'inside', cpus: 2, diskBytes: 48 * 2 ** 20 });
      // The kernel keeps some of it for itself before it counts.
      expect(memoryBytes).toBeLessThanOrEqual(configuration.memoryBytes);
      expect(memoryBytes).toBeGreaterThan(configuration.memoryBytes * 0.8);
    });

    test('cannot reach the host that it runs on, nor a server there', async () => {
      let visitors = 0;
      const server = createServer((visitor) => {
        visitors += 1;
        visitor.end('reached');
      }).listen(0, '0.0.0.0');
      await once(server, 'listening');
      onTestFinished(() => void server.close());
      const { port } = server.address() as AddressInfo;
      // That the guest's program can tell: its own server it does reach.
      expect(await inside('reach?127.0.0.1:80')).toBe('reached\n');
      expect(await inside(`reach?10.0.2.2:${port}`)).toBe('not reached\n');
      expect(visitors).toBe(0);
    });
  });

  describe('machines of a process that was killed', () => {
    test('are taken over by the next one; those of another folder are left alone', async () => {
      const [ours, others] = [join(folder, 'killed'), join(folder, 'killed-2')];
      const [own, neighbour] = [await startInKilled(ours), await startInKilled(others)];
      expect(machinesIn(ours)).toMatchObject([{ pid: own.pid }]);

      const { machines, endedCount } = await hypervisorIn(ours).takeOver();
      expect(machines).toMatchObject([{ ...own, accelerator: 'tcg' }]);
      expect(endedCount).toBe(0);
      await answering(machines[0]!);
      await machines[0]!.stop();
      expect(machinesIn(ours)).toEqual([]);
      expect(readdirSync(ours)).toEqual([]);
      expect(machinesIn(others)).toMatchObject([{ pid: neighbour.pid }]);
      expect(existsSync(join(others, neighbour.id, 'qmp'))).toBe(true);
    });

    test('are ended, with their files, when nothing says what they are', async () => {
      const run = join(folder, 'killed-3');
      const { id } = await startInKilled(run);
      rmSync(join(run, id, 'machine.json'));
      expect(await hypervisorIn(run).takeOver()).toEqual({ machines: [], endedCount: 1 });
      expect(machinesIn(run)).toEqual([]);
      expect(readdirSync(run)).toEqual([]);
    });

    test('are ended when they are not what their directory says', async () => {
      const run = join(folder, 'killed-4');
      const { id } = await startInKilled(run);
      renameSync(join(run, id), join(run, 'right'));
      expect(await hypervisorIn(run).takeOver()).toEqual({ machines: [], endedCount: 1 });
      expect(await hypervisorIn(run).takeOver()).toEqual({ machines: [], endedCount: 0 });
    });

    /** A process that starts a machine as the product does, and is killed. */
    async function startInKilled(run: string): Promise<{ pid: number; id: string }> {
      const source = (path: string) => pathToFileURL(join(import.meta.dirname, '..', '..', 'src', path)).href;
      const program = `
        const { QemuHypervisor } = await import('${source('pool/index.ts')}');
        const { QEMU_DEPS } = await import('${pathToFileURL(join(import.meta.dirname, '..', 'support', 'qemu-deps.ts')).href}');
        const hypervisor = new QemuHypervisor(QEMU_DEPS, process.argv[1]);
        const spec = JSON.parse(process.argv[2]);
        const machine = await hypervisor.start(spec, new AbortController().signal, async () => {});
        console.log(JSON.stringify({ pid: machine.pid, id: machine.id }));
        setInterval(() => {}, 60_000);`;
      const args = ['--input-type=module', '-e', program, run, JSON.stringify(specOf('left'))];
      const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
      onTestFinished(() => void child.kill('SIGKILL'));
      const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
      child.kill('SIGKILL');
      await once(child, 'close');
      return JSON.parse(line) as { pid: number; id: string };
    }
  });

  describe('a start that cannot succeed', () => {
    test('for want of QEMU says what to install', async () => {
      vi.stubEnv('PATH', join(folder, 'images'));
      onTestFinished(() => void vi.unstubAllEnvs());
      await expect(hypervisor().start(specOf('none'), signal(), unclaimed)).rejects.toMatchObject({
        code: 'hypervisor_missing',
        message: expect.stringContaining('apt-get install qemu-system-x86'),
      });
      expect(readdirSync(join(folder, 'run'))).toEqual([]);
    });

    test('because its folder has too long a path says so', async () => {
      const long = join(folder, 'x'.repeat(100));
      await expect(hypervisorIn(long).start(specOf('long'), signal(), unclaimed)).rejects.toMatchObject({
        code: 'machine_failed',
        message: expect.stringMatching(/too long for a Unix socket.*shorter/),
      });
      expect(existsSync(long)).toBe(false);
    });

    // Of the files that the disk takes one is its root; the next are for run folder, run directory, record and both logs.
    test.for([2, 3, 4, 5])('because only %i files fit on the disk says so', async (count, context) => {
      const run = join(smallDisk(context, `size=1m,nr_inodes=${count}`), 'run');
      const starting = hypervisorIn(run).start(specOf('full'), signal(), unclaimed);
      await expect(starting).rejects.toMatchObject({
        code: 'disk_full',
        message: expect.stringContaining(run),
      });
      expect(existsSync(run) ? readdirSync(run) : []).toEqual([]);
    });

    test('because no room is left for what QEMU itself writes says so', async (context) => {
      const run = join(smallDisk(context, 'size=1m,nr_inodes=6'), 'run');
      const starting = hypervisorIn(run).start(specOf('full'), signal(), unclaimed);
      await expect(starting).rejects.toThrow('No space left on device');
      expect(machinesIn(run)).toEqual([]);
      expect(existsSync(run) ? readdirSync(run) : []).toEqual([]);
    });

    test('because QEMU refuses gives its last words', async () => {
      const broken = { ...image, kernelPath: join(folder, 'no-kernel') };
      writeFileSync(broken.kernelPath, 'no kernel');
      await expect(
        hypervisor().start({ ...specOf('broken'), image: broken }, signal(), unclaimed),
      ).rejects.toMatchObject({
        code: 'machine_failed',
        message: expect.stringMatching(/^QEMU: .*kernel/),
      });
      expect(readdirSync(join(folder, 'run'))).toEqual([]);
    });
  });
});
