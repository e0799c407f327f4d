import { existsSync } from 'node:fs';
import { truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/base/index.ts';
import { restoreDisks } from '../../src/pool/disks/disk-copy.ts';
import type { Claim, Hypervisor, Machine, MachineDisk, MachineSpec } from '../../src/pool/index.ts';
import { probeHttp, untilReady } from '../../src/pool/readiness.ts';
import { temporaryFolder } from './temporary-folder.ts';

/** What every hypervisor must do. `specOf` gives a machine that the implementation can start. */
export function hypervisorSuite(make: () => Hypervisor, specOf: (name: string) => MachineSpec): void {
  const start = (hypervisor: Hypervisor, name: string, claim: Claim = async () => undefined) =>
    hypervisor.start(specOf(name), new AbortController().signal, claim);
  const urlOf = ({ addresses: [{ host, port }] }: Machine) => `http://${host}:${port}/`;

  const signal = () => AbortSignal.timeout(60_000);
  const unclaimed = async () => undefined;

  async function startReady(
    hypervisor: Hypervisor,
    id: string,
    change: Partial<MachineSpec> = {},
  ): Promise<Machine> {
    const machine = await hypervisor.start({ ...specOf(id), ...change }, signal(), unclaimed);
    await untilReady(systemClock, probeHttp, machine.addresses[0], '/', signal());
    return machine;
  }
  /** A hypervisor, a disk for a machine, and where that may be saved: below a folder that is not there yet. */
  async function home() {
    const folder = await temporaryFolder();
    const disks: MachineDisk[] = [{ path: join(folder, 'data.raw'), format: 'raw', sizeBytes: 2 ** 20 }];
    await writeFile(join(folder, 'data.raw'), '');
    await truncate(join(folder, 'data.raw'), 2 ** 20);
    return { hypervisor: make(), disks, saved: join(folder, 'saved', 'one') };
  }
  /** The guest keeps a text in its memory. */
  const remember = async (machine: Machine, text: string) => {
    const { status } = await fetch(`${urlOf(machine)}cgi-bin/memory`, { method: 'POST', body: text });
    expect(status).toBe(200);
  };
  const remembered = async (machine: Machine) => (await fetch(`${urlOf(machine)}cgi-bin/memory`)).text();

  const takenOver = async (hypervisor: Hypervisor, id: string) => {
    const { machines, endedCount } = await hypervisor.takeOver();
    expect(machines.map((machine) => machine.id)).toEqual([id]);
    expect(endedCount).toBe(0);
    return machines[0]!;
  };

  it('starts a machine whose server answers, and ends it', async () => {
    const machine = await start(make(), 'one');
    try {
      await untilReady(systemClock, probeHttp, machine.addresses[0], '/', AbortSignal.timeout(60_000));
      expect((await fetch(urlOf(machine))).status).toBe(200);
      expect(machine.pid).toBeGreaterThan(0);
    } finally {
      await machine.stop();
    }
    await expect(fetch(urlOf(machine), { signal: AbortSignal.timeout(5000) })).rejects.toThrow();
    await machine.stop();
  });

  it('tells the id of a machine before it is there, and starts none when that is not wanted', async () => {
    const hypervisor = make();
    const claimed: string[] = [];
    const machine = await start(hypervisor, 'claimed', async (id) => void claimed.push(id));
    expect(claimed).toEqual([machine.id]);
    expect(machine.id).toMatch(/^claimed-[0-9a-z]{6}$/);
    await machine.stop();
    const refusing = start(hypervisor, 'refused', async () => Promise.reject(new Error('not recorded')));
    await expect(refusing).rejects.toThrow('not recorded');
    expect((await hypervisor.takeOver()).machines).toEqual([]);
  });

  it('gives every machine an address of its own', async () => {
    const hypervisor = make();
    const machines = await Promise.all(['a', 'b'].map((name) => start(hypervisor, name)));
    expect(new Set(machines.map(urlOf)).size).toBe(2);
    await Promise.all(machines.map((machine) => machine.stop()));
  });

  it('notices a machine that is killed, and says so', async () => {
    const machine = await start(make(), 'killed');
    process.kill(machine.pid, 'SIGKILL');
    expect(await machine.exited).toMatch(/SIGKILL/);
    await machine.stop();
  });

  it('leaves nothing running when the start is called off', async () => {
    const calledOff = new AbortController();
    const starting = make().start(specOf('off'), calledOff.signal, async () => undefined);
    calledOff.abort(new Error('called off'));
    await expect(starting).rejects.toThrow('called off');
  });

  it('takes over a machine that runs, as it is: its process, its address, its console', async () => {
    const hypervisor = make();
    const started = await start(hypervisor, 'left');
    const left = await takenOver(hypervisor, started.id);
    expect(left).toMatchObject({
      pid: started.pid,
      addresses: started.addresses,
      accelerator: started.accelerator,
    });
    await untilReady(systemClock, probeHttp, left.addresses[0], '/', AbortSignal.timeout(60_000));
    expect(await hypervisor.consoleTail(left.id)).not.toBe('');
    await left.stop();
    await expect(fetch(urlOf(left), { signal: AbortSignal.timeout(5000) })).rejects.toThrow();
    await left.stop();
    expect((await hypervisor.takeOver()).machines).toEqual([]);
  });

  it('notices that a machine which it took over is killed', async () => {
    const hypervisor = make();
    const started = await start(hypervisor, 'left');
    const left = await takenOver(hypervisor, started.id);
    process.kill(left.pid, 'SIGKILL');
    expect(await left.exited).toMatch(/ended/);
    await started.stop();
  });

  it("keeps the end of the guest's console", async () => {
    const hypervisor = make();
    const machine = await start(hypervisor, 'talker');
    try {
      await untilReady(systemClock, probeHttp, machine.addresses[0], '/', AbortSignal.timeout(60_000));
      expect(await hypervisor.consoleTail(machine.id)).not.toBe('');
    } finally {
      await machine.stop();
    }
    expect(await hypervisor.consoleTail('nobody')).toBe('');
  });

  describe('that is suspended', () => {
    it('goes on in another machine, with its memory and its disk, and nothing of it can be read meanwhile', async () => {
      const { hypervisor, disks, saved } = await home();
      const machine = await startReady(hypervisor, 'sleeper', { disks });
      await remember(machine, 'since before');
      await machine.suspend(saved, signal());
      expect(await machine.exited).not.toBe('');
      await expect(fetch(urlOf(machine), { signal: AbortSignal.timeout(5000) })).rejects.toThrow();
      const restored = await startReady(hypervisor, 'restored', { disks, saved });
      expect(await remembered(restored)).toBe('since before');
      await restored.stop();
    });

    it('replaces what was saved in the same place before', async () => {
      const { hypervisor, disks, saved } = await home();
      for (const word of ['first', 'second']) {
        const machine = await startReady(hypervisor, word, { disks });
        await remember(machine, word);
        await machine.suspend(saved, signal());
      }
      const restored = await startReady(hypervisor, 'third', { disks, saved });
      expect(await remembered(restored)).toBe('second');
      await restored.stop();
    });

    it('and cannot be, goes on', async () => {
      const { hypervisor, disks, saved } = await home();
      const machine = await startReady(hypervisor, 'awake', { disks });
      await remember(machine, 'still here');
      await writeFile(dirname(saved), 'a file where a folder would be needed');
      await expect(machine.suspend(saved, signal())).rejects.toThrow();
      expect(await remembered(machine)).toBe('still here');
      await machine.stop();
    });

    it('and is killed over it, says so', async () => {
      const { hypervisor, disks, saved } = await home();
      const machine = await startReady(hypervisor, 'killed', { disks });
      process.kill(machine.pid, 'SIGSTOP');
      const suspending = expect(machine.suspend(saved, signal())).rejects.toMatchObject({
        code: 'machine_failed',
      });
      process.kill(machine.pid, 'SIGKILL');
      await suspending;
      expect(existsSync(saved)).toBe(false);
    });

    it('cannot go on from nothing, from something else, or with another configuration', async () => {
      const { hypervisor, disks, saved } = await home();
      const refused = { code: 'saved_state_unusable' };
      const startFrom = (change: Partial<MachineSpec>) =>
        hypervisor.start({ ...specOf('refused'), disks, saved, ...change }, signal(), unclaimed);
      await expect(startFrom({})).rejects.toMatchObject(refused);
      const machine = await startReady(hypervisor, 'sleeper', { disks });
      await machine.suspend(saved, signal());
      const { configuration } = specOf('other');
      const more = { ...configuration, memoryBytes: configuration.memoryBytes + 2 ** 24 };
      await expect(startFrom({ configuration: more })).rejects.toMatchObject(refused);
      await truncate(join(saved, 'state'), 10);
      await expect(startFrom({})).rejects.toMatchObject(refused);
    });
  });

  it('goes on while it is copied, and a copy can go on from there', async () => {
    const { hypervisor, disks, saved } = await home();
    const machine = await startReady(hypervisor, 'model', { disks });
    await remember(machine, 'at the snapshot');
    await machine.snapshot(saved, signal());
    await remember(machine, 'afterwards');
    expect(await remembered(machine)).toBe('afterwards');
    await machine.stop();
    await restoreDisks(disks, join(saved, 'disks'), signal());
    const copy = await startReady(hypervisor, 'copy', { disks, saved });
    expect(await remembered(copy)).toBe('at the snapshot');
    await copy.stop();
  });

  it('lets no other machine have its disk, until it is gone', async () => {
    const { hypervisor, disks } = await home();
    const machine = await startReady(hypervisor, 'writer', { disks });
    await expect(hypervisor.start({ ...specOf('second'), disks }, signal(), unclaimed)).rejects.toMatchObject(
      {
        code: 'disk_in_use',
      },
    );
    await machine.stop();
    const next = await startReady(hypervisor, 'next', { disks });
    await next.stop();
  });

  it('is ended when it does not power off by itself in its time', async () => {
    const machine = await startReady(make(), 'deaf');
    process.kill(machine.pid, 'SIGSTOP');
    const beforeMs = systemClock.monotonicMs();
    await machine.shutDown(300);
    expect(await machine.exited).toMatch(/SIGKILL/);
    const tookMs = systemClock.monotonicMs() - beforeMs;
    expect(tookMs).toBeGreaterThanOrEqual(290);
    // Not as long as its agent may take to be silent.
    expect(tookMs).toBeLessThan(4000);
  });
}
