import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../src/base/index.ts';
import { createLog } from '../../src/platform/telemetry/index.ts';
import { type Machine, QemuHypervisor, type StartedMachine, type StoredImage } from '../../src/pool/index.ts';
import { probeHttp, untilReady } from '../../src/pool/readiness.ts';
import type { Configuration } from '../../src/pool/schema.ts';
import { QEMU_DEPS } from '../support/qemu-deps.ts';
import { inside } from '../support/rooted-guests.ts';
import { rootedImage } from '../support/rooted-image.ts';
import { machinesIn, PATIENCE_MS } from '../support/running-orilla.ts';
import { needs } from '../support/tools.ts';
import { storedImage } from '../support/web-image.ts';

const CONFIGURATION: Configuration = { cpus: 1, memoryBytes: 192 * 2 ** 20, diskBytes: 0 };
const LOOK_MS = 20;

needs('qemu-system-x86_64')('a machine that waits', () => {
  let folder: string;
  let image: StoredImage;
  let hypervisor: QemuHypervisor;
  let limitBytes: number;
  let said = '';
  const running: Machine[] = [];
  const log = createLog('info', {
    write: (line: string) => {
      said += line;
    },
  });
  const signal = () => AbortSignal.timeout(PATIENCE_MS);
  const run = () => join(folder, 'run');

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'o-'));
    image = await storedImage(await rootedImage(join(folder, 'rooted')), join(folder, 'images'));
    limitBytes = 2 ** 40;
    hypervisor = make();
    // The first start says that more may come.
    const first = await start('first');
    expect(first.origin).toBe('boot');
    await first.stop();
    running.pop();
    expect(said).toContain('template taken');
  });
  afterEach(async () => {
    await Promise.all(running.splice(0).map((machine) => machine.stop()));
    limitBytes = 2 ** 40;
  });
  afterAll(async () => {
    await hypervisor.close();
    expect(machinesIn(folder)).toEqual([]);
    expect(readdirSync(run())).toEqual([]);
    rmSync(folder, { recursive: true, force: true });
  });

  const make = () =>
    new QemuHypervisor(
      { ...QEMU_DEPS, log, warmLimitBytes: () => limitBytes },
      run(),
      join(folder, 'templates'),
    );
  async function start(name: string, claim = async (_id: string) => {}): Promise<StartedMachine> {
    const machine = await hypervisor.start({ name, image, configuration: CONFIGURATION }, signal(), claim);
    running.push(machine);
    await untilReady(systemClock, probeHttp, machine.addresses[0], '/', signal());
    return machine;
  }
  /** Those of our processes that nobody was given. */
  const waiting = () => machinesIn(folder).filter(({ pid }) => !running.some((one) => one.pid === pid));
  /** Until that many wait, whose guests use no processor time any more. */
  async function untilWaiting(isWanted: (count: number) => boolean): Promise<void> {
    const ticks = () => waiting().map(({ pid }) => readFileSync(`/proc/${pid}/stat`, 'utf8').split(' ')[13]);
    for (;;) {
      const before = ticks();
      await systemClock.sleep(10 * LOOK_MS, signal());
      if (isWanted(before.length) && before.join() === ticks().join()) return;
    }
  }

  test('is handed out, and tells nothing of before: its name, its generation, its random numbers and the time are its own', async () => {
    const script = `cat /proc/sys/kernel/hostname /etc/orilla-generation
      head -c 16 /dev/urandom | md5sum
      date +%s`;
    const seen: string[][] = [];
    for (const name of ['one', 'two', 'three']) {
      await untilWaiting((count) => count >= 1);
      const claimed: string[] = [];
      const machine = await start(name, async (id) => void claimed.push(id));
      expect(machine.origin).toBe('warm');
      expect(claimed).toEqual([machine.id]);
      expect(machine.id).toMatch(/^warm-/);
      const lines = (await inside(machine, script)).trim().split('\n');
      expect(lines[0]).toBe(name);
      expect(Math.abs(Number(lines[3]) - systemClock.nowMs() / 1000)).toBeLessThan(10);
      seen.push(lines);
    }
    for (const line of [1, 2]) expect(new Set(seen.map((lines) => lines[line])).size).toBe(3);
  });

  test('that died is not handed out, and another takes its place', async () => {
    await untilWaiting((count) => count >= 1);
    const killed = waiting().map(({ pid }) => pid);
    for (const pid of killed) process.kill(pid, 'SIGKILL');
    const machine = await start('after');
    expect(killed).not.toContain(machine.pid);
    await untilWaiting((count) => count >= 1);
    expect(waiting().some(({ pid }) => killed.includes(pid))).toBe(false);
  });

  test('that nobody may have is ended, and leaves nothing', async () => {
    await untilWaiting((count) => count >= 1);
    const before = waiting().map(({ pid }) => pid);
    let claimed = '';
    const refused = start('refused', async (id) => {
      claimed = id;
      throw new Error('not recorded');
    });
    await expect(refused).rejects.toThrow('not recorded');
    expect(claimed).toMatch(/^warm-/);
    expect(readdirSync(run())).not.toContain(claimed);
    expect(before.filter((pid) => machinesIn(folder).some((machine) => machine.pid === pid)).length).toBe(
      before.length - 1,
    );
  });

  test('goes when a VM needs its room', async () => {
    await untilWaiting((count) => count >= 1);
    limitBytes = 0;
    const machine = await start('needy');
    await untilWaiting((count) => count === 0);
    expect(machinesIn(folder)).toMatchObject([{ pid: machine.pid }]);
  });

  test('is ended by the next process, which takes over those that VMs have', async () => {
    const machine = await start('kept');
    await untilWaiting((count) => count >= 1);
    const left = await make().takeOver();
    expect(left.machines).toMatchObject([{ id: machine.id, pid: machine.pid }]);
    // One more may just have been on its way.
    expect(left.endedCount).toBeGreaterThanOrEqual(1);
    await left.machines[0]?.stop();
  });
});
