import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { temporaryFolder } from '../../../../test/support/temporary-folder.ts';
import { cgroupRoot, cgroupSupport } from './cgroup-support.ts';
import { commandInCgroup, limitFiles, MachineCgroups } from './cgroups.ts';

// A folder stands in for the kernel's: what is shown here is what is written where. What it means is shown by a guest's
// kernel, in test/integration.

const SMALL = { memoryBytes: 2 ** 28, cpus: 2 };

describe('limits of machines by cgroups', () => {
  test('can be had where the root has the controllers, which are then on for the machines', async () => {
    const root = await temporaryFolder();
    await writeFile(join(root, 'cgroup.controllers'), 'cpuset cpu io memory hugetlb pids\n');
    const folder = join(root, 'orilla');
    expect(await cgroupSupport(root)).toEqual({ hasLimits: true, folder });
    for (const each of [root, folder]) {
      expect(await readFile(join(each, 'cgroup.subtree_control'), 'utf8')).toBe('+cpu +memory +pids');
    }
  });

  test('cannot be had where controllers are missing, or the folder is not ours; the reason says which', async () => {
    const root = await temporaryFolder();
    expect(await cgroupSupport(root)).toMatchObject({
      hasLimits: false,
      reason: /ENOENT.*cgroup\.controllers/,
    });
    await writeFile(join(root, 'cgroup.controllers'), 'hugetlb pids\n');
    expect(await cgroupSupport(root)).toEqual({
      hasLimits: false,
      reason: `cgroup v2 lacks cpu, memory in ${root}`,
    });
  });

  test('are made below the root of the hierarchy, or below the group that was given to us', () => {
    const mounts = `31 1 0:5 / / rw,relatime - ext4 /dev/vda rw
40 31 0:37 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate
`;
    expect(cgroupRoot(mounts, '8:pids:/x\n0::/user.slice/user-0.slice/session-1.scope\n')).toBe(
      '/sys/fs/cgroup',
    );
    expect(cgroupRoot(mounts, '0::/system.slice/edge.service/orilla-control\n')).toBe(
      '/sys/fs/cgroup/system.slice/edge.service',
    );
    expect(cgroupRoot('31 1 0:5 / / rw - ext4 /dev/vda rw\n', '0::/\n')).toBeUndefined();
  });

  test('are of memory without swap, of processor time by the processors that it has, and of threads', async () => {
    const cgroups = new MachineCgroups(await temporaryFolder(), '/run');
    // As the kernel makes it: with its files in it.
    await mkdir(cgroups.groupOf('a'));
    for (const file of Object.keys(limitFiles(SMALL))) await writeFile(join(cgroups.groupOf('a'), file), '');
    const group = await cgroups.make('a', SMALL);
    const written = await Promise.all(
      (await readdir(group)).map(async (file) => [file, await readFile(join(group, file), 'utf8')] as const),
    );
    expect(Object.fromEntries(written)).toEqual({
      'cpu.max': '200000 100000',
      'cpu.weight': '200',
      'memory.max': '268435456',
      'memory.swap.max': '0',
      'pids.max': '256',
    });
    expect(limitFiles({ memoryBytes: 1, cpus: 256 })['cpu.weight']).toBe('10000');
  });

  test('are entered by the process that becomes QEMU, before it does', async () => {
    const group = await temporaryFolder();
    const [program, args] = commandInCgroup(group, ['sh', '-c', 'echo $$ "$@"', 'qemu', "it's", '$(id)']);
    const { stdout } = await promisify(execFile)(program, args);
    const entered = (await readFile(join(group, 'cgroup.procs'), 'utf8')).trim();
    expect(stdout).toBe(`${entered} it's $(id)\n`);
    // Without its limits it does not run.
    const [, elsewhere] = commandInCgroup(join(group, 'gone'), ['echo', 'ran']);
    await expect(promisify(execFile)('sh', elsewhere)).rejects.toMatchObject({ stdout: '' });
  });

  test("that were passed are found by the kernel's count, also of a machine that was taken over", async () => {
    const folder = await temporaryFolder();
    const group = new MachineCgroups(folder, '/run').groupOf('a');
    const later = new MachineCgroups(folder, '/run');
    expect(await later.ranOutOfMemory('a')).toBe(false);
    await mkdir(group);
    for (const [count, isOut] of [
      ['0', false],
      ['1', true],
      ['12', true],
    ] as const) {
      const events = `low 0\nhigh 0\nmax 7\noom 3\noom_kill ${count}\noom_group_kill 0\n`;
      await writeFile(join(group, 'memory.events'), events);
      expect(await later.ranOutOfMemory('a')).toBe(isOut);
    }
  });

  test('go with their machines, and what dead ones left goes at the next start; those of others stay', async () => {
    const folder = await temporaryFolder();
    const cgroups = new MachineCgroups(folder, '/run');
    const ofOther = new MachineCgroups(folder, '/other').groupOf('a');
    for (const group of [...['a', 'b', 'c'].map((id) => cgroups.groupOf(id)), ofOther]) await mkdir(group);
    await cgroups.remove('a');
    await cgroups.remove('a');
    expect(await readdir(folder)).toHaveLength(3);
    await cgroups.removeAllBut(new Set(['b']));
    const left = (await readdir(folder)).map((name) => join(folder, name));
    expect(left.sort()).toEqual([cgroups.groupOf('b'), ofOther].sort());
  });
});
