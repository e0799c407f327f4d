import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../src/base/index.ts';
import { commandInCgroup, limitFiles } from '../../src/pool/hypervisor/qemu/cgroups.ts';
import { type Machine, QemuHypervisor } from '../../src/pool/index.ts';
import { probeHttp, untilReady } from '../../src/pool/readiness.ts';
import { QEMU_DEPS } from '../support/qemu-deps.ts';
import { rootedImage } from '../support/rooted-image.ts';
import { PATIENCE_MS } from '../support/running-orilla.ts';
import { needs } from '../support/tools.ts';
import { storedImage } from '../support/web-image.ts';

// The host of this test may have no cgroup v2; the kernel of its guest does. What Orilla writes is written there.

const LIMITS = { memoryBytes: 32 * 2 ** 20, cpus: 1 };
const GROUP = '/cgroup/orilla/0123456789ab.machine';

needs('qemu-system-x86_64')("the limits of a machine's cgroup, in a real kernel", () => {
  let folder: string;
  let machine: Machine;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'o-'));
    const image = await storedImage(await rootedImage(join(folder, 'rooted')), join(folder, 'images'));
    const hypervisor = new QemuHypervisor(QEMU_DEPS, join(folder, 'run'));
    const signal = AbortSignal.timeout(PATIENCE_MS);
    const configuration = { cpus: 1, memoryBytes: 192 * 2 ** 20, diskBytes: 0 };
    machine = await hypervisor.start({ name: 'g', image, configuration }, signal, async () => undefined);
    await untilReady(systemClock, probeHttp, machine.addresses[0], '/', signal);
    await inside(`mkdir /cgroup; mount -t cgroup2 none /cgroup
      for folder in /cgroup /cgroup/orilla; do
        mkdir -p $folder; echo '+cpu +memory +pids' >$folder/cgroup.subtree_control
      done
      mkdir ${GROUP}`);
  });
  afterAll(async () => {
    await machine.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  async function inside(script: string): Promise<string> {
    const [{ host, port }] = machine.addresses;
    const signal = AbortSignal.timeout(PATIENCE_MS);
    const url = `http://${host}:${port}/cgi-bin/run`;
    return (await fetch(url, { method: 'POST', body: script, signal })).text();
  }
  const quoted = (words: readonly string[]) =>
    words.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
  const inGroup = (script: string) => quoted(commandInCgroup(GROUP, ['sh', '-c', script]).flat());

  test('are taken as they are written', async () => {
    for (const [file, value] of Object.entries(limitFiles(LIMITS))) {
      const said = await inside(
        `cd ${GROUP}; [ ! -e ${file} ] || { echo '${value}' >${file}; cat ${file}; }`,
      );
      expect([file, said.trim()]).toEqual([file, value]);
    }
  });

  test('hold whoever entered it and its children: its memory, counted where it was ended, and its processes', async () => {
    expect(await inside(inGroup('grep -c . /proc/self/cgroup; cat /proc/self/cgroup'))).toBe(
      '1\n0::/orilla/0123456789ab.machine\n',
    );
    await inside(inGroup('tail /dev/zero; true'));
    expect(await inside(`cat ${GROUP}/memory.events`)).toMatch(/^oom_kill 1$/m);
    expect(await inside(`cat ${GROUP}/memory.peak ${GROUP}/memory.max`)).toMatch(/^(\d+)\n\1\n$/);
    const forks = inGroup('n=0; while [ $n -lt 300 ]; do sleep 20 & n=$((n + 1)); done');
    await inside(`{ ${forks}; } </dev/null >/dev/null 2>&1`);
    expect(await inside(`cat ${GROUP}/pids.current ${GROUP}/pids.events`)).toMatch(/^25[56]\nmax [1-9]/);
  });

  test('go by removing the folder, which nobody can while a process is there', async () => {
    const remove = `rmdir ${GROUP} 2>/dev/null && echo removed || echo busy`;
    expect(await inside(remove)).toBe('busy\n');
    expect(await inside(`echo 1 >${GROUP}/cgroup.kill; sleep 1; ${remove}`)).toBe('removed\n');
  });
});
