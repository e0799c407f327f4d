import { expect, it } from 'vitest';
import { systemClock } from '../../src/base/index.ts';
import type { Claim, Hypervisor, Machine, MachineSpec } from '../../src/pool/index.ts';
import { probeHttp, untilReady } from '../../src/pool/readiness.ts';

/** What every hypervisor must do. `specOf` gives a machine that the implementation can start. */
export function hypervisorSuite(make: () => Hypervisor, specOf: (name: string) => MachineSpec): void {
  const start = (hypervisor: Hypervisor, name: string, claim: Claim = async () => undefined) =>
    hypervisor.start(specOf(name), new AbortController().signal, claim);
  const urlOf = ({ addresses: [{ host, port }] }: Machine) => `http://${host}:${port}/`;

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
}
