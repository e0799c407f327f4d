import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, onTestFinished, test } from 'vitest';
import { ManualClock, systemClock } from '../../../base/index.ts';
import { identifyProcess, type ProcessIdentity } from '../../../platform/process/index.ts';
import { AdoptedQemu } from './adopted-qemu.ts';

async function startProcess(): Promise<{ child: ChildProcess; identity: ProcessIdentity }> {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 60_000)'], { stdio: 'ignore' });
  onTestFinished(() => void child.kill('SIGKILL'));
  await once(child, 'spawn');
  return { child, identity: identifyProcess(child.pid ?? 0)! };
}

describe('a QEMU that is no child of ours', () => {
  test('is seen to have ended within 100 ms, and not before', async () => {
    const clock = new ManualClock();
    const { child, identity } = await startProcess();
    const qemu = new AdoptedQemu(clock, identity);
    await clock.advance(1000);
    expect(qemu.ended.aborted).toBe(false);
    child.kill('SIGKILL');
    await once(child, 'exit');
    await clock.advance(100);
    expect(qemu.ended.aborted).toBe(true);
    expect(await qemu.exited).toEqual({ reason: 'QEMU ended' });
  });

  test('is ended at once, also twice', async () => {
    const { child, identity } = await startProcess();
    const exit = once(child, 'exit');
    const qemu = new AdoptedQemu(systemClock, identity);
    await qemu.kill();
    expect((await exit)[1]).toMatch(/^SIG(?:TERM|KILL)$/);
    await qemu.exited;
    await qemu.kill();
  });

  test('is never another process with the same number', async () => {
    const { child, identity } = await startProcess();
    const qemu = new AdoptedQemu(systemClock, { ...identity, startTicks: identity.startTicks - 1 });
    await qemu.exited;
    await qemu.kill();
    expect(child.signalCode).toBeNull();
    expect(identifyProcess(identity.pid)).toEqual(identity);
  });
});
