import { expect, it } from 'vitest';
import { systemClock } from '../../src/base/index.ts';
import type { Hypervisor, Machine, MachineSpec } from '../../src/pool/index.ts';
import { probeHttp, untilReady } from '../../src/pool/readiness.ts';

/** What every hypervisor must do. `specOf` gives a machine that the implementation can start. */
export function hypervisorSuite(make: () => Hypervisor, specOf: (id: string) => MachineSpec): void {
  const start = (hypervisor: Hypervisor, id: string) =>
    hypervisor.start(specOf(id), new AbortController().signal);
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

  it('gives every machine an address of its own', async () => {
    const hypervisor = make();
    const machines = await Promise.all(['a', 'b'].map((id) => start(hypervisor, id)));
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
    const starting = make().start(specOf('off'), calledOff.signal);
    calledOff.abort(new Error('called off'));
    await expect(starting).rejects.toThrow('called off');
  });

  it('takes over a machine that runs, as it is: its process, its address, its console', async () => {
    const hypervisor = make();
    const started = await start(hypervisor, 'left');
    const left = await takenOver(hypervisor, 'left');
    expect(left).toMatchObject({
      pid: started.pid,
      addresses: started.addresses,
      accelerator: started.accelerator,
    });
    await untilReady(systemClock, probeHttp, left.addresses[0], '/', AbortSignal.timeout(60_000));
    expect(await hypervisor.consoleTail('left')).not.toBe('');
    await left.stop();
    await expect(fetch(urlOf(left), { signal: AbortSignal.timeout(5000) })).rejects.toThrow();
    await left.stop();
    expect((await hypervisor.takeOver()).machines).toEqual([]);
  });

  it('notices that a machine which it took over is killed', async () => {
    const hypervisor = make();
    const started = await start(hypervisor, 'left');
    const left = await takenOver(hypervisor, 'left');
    process.kill(left.pid, 'SIGKILL');
    expect(await left.exited).toMatch(/ended/);
    await started.stop();
  });

  it("keeps the end of the guest's console", async () => {
    const hypervisor = make();
    const machine = await start(hypervisor, 'talker');
    try {
      await untilReady(systemClock, probeHttp, machine.addresses[0], '/', AbortSignal.timeout(60_000));
      expect(await hypervisor.consoleTail('talker')).not.toBe('');
    } finally {
      await machine.stop();
    }
    expect(await hypervisor.consoleTail('nobody')).toBe('');
  });
}
