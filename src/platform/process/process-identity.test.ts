import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { ManualClock, systemClock } from '../../base/index.ts';
import {
  endProcess,
  identifyProcess,
  isRunning,
  type ProcessIdentity,
  processesIn,
} from './process-identity.ts';

let folder: string;
beforeAll(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'orilla-process-')));
});
afterAll(() => rmSync(folder, { recursive: true }));

const children: ChildProcess[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  }
});

/** A process that says when it is set up and stays until it is ended. */
async function startChild(setUp = '', { cwd = folder, mark = 'unmarked' } = {}) {
  const script = `${setUp}; setInterval(() => {}, 60_000); console.log('up')`;
  const child = spawn(process.execPath, ['-e', script, mark], { cwd, stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  const exited = once(child, 'exit');
  await once(child.stdout, 'data');
  const identity = identifyProcess(child.pid!);
  if (!identity) throw new Error('the child is gone');
  return { child, exited, identity };
}

describe('the identity of a process', () => {
  test('stays the same while it runs and is gone with it', async () => {
    const { child, exited, identity } = await startChild();
    expect(identifyProcess(child.pid!)).toEqual(identity);
    expect(isRunning(identity)).toBe(true);
    child.kill('SIGKILL');
    await exited;
    expect(isRunning(identity)).toBe(false);
    expect(identifyProcess(child.pid!)).toBeUndefined();
  });

  test('is read past a name with spaces and brackets', async () => {
    const { child, identity } = await startChild('process.title = "a) b (c 1 2 3"');
    expect(identity).toEqual({ pid: child.pid, startTicks: expect.any(Number) });
    expect(identity.startTicks).toBeGreaterThan(identifyProcess(1)!.startTicks);
  });

  test('is not that of a later process with the same number', () => {
    const self = identifyProcess(process.pid)!;
    expect(isRunning({ ...self, startTicks: self.startTicks - 1 })).toBe(false);
  });
});

describe('endProcess', () => {
  test('lets a process end by itself on SIGTERM', async () => {
    const { exited, identity } = await startChild('process.once("SIGTERM", () => process.exit(7))');
    expect(await endProcess(systemClock, identity, 60_000)).toBe(true);
    expect(await exited).toEqual([7, null]);
  });

  test('kills one that ignores SIGTERM once its grace is over, and not before', async () => {
    const clock = new ManualClock();
    const { child, exited, identity } = await startChild('process.on("SIGTERM", () => {})');
    const ending = endProcess(clock, identity, 2000);
    await clock.advance(1999);
    expect(child.signalCode).toBeNull();
    expect(isRunning(identity)).toBe(true);
    await clock.advance(1);
    expect(await exited).toEqual([null, 'SIGKILL']);
    await clock.advance(10);
    expect(await ending).toBe(true);
  });

  test('touches no process that only has the same number', async () => {
    const { child, identity } = await startChild();
    const earlier: ProcessIdentity = { pid: identity.pid, startTicks: identity.startTicks - 1 };
    expect(await endProcess(new ManualClock(), earlier)).toBe(false);
    expect(isRunning(identity)).toBe(true);
    expect(child.signalCode).toBeNull();
  });
});

describe('processesIn', () => {
  test('finds what works in the folder or below it and has the arguments, and nothing else', async () => {
    const [inside, below, beside] = ['run', join('run', 'deep', 'er'), 'run-2'].map((name) =>
      join(folder, name),
    );
    for (const path of [below!, beside!]) mkdirSync(path, { recursive: true });
    const mark = 'wanted one';
    const [a, b] = await Promise.all([
      startChild('', { cwd: inside!, mark }),
      startChild('', { cwd: below!, mark }),
      startChild('', { cwd: inside! }),
      startChild('', { cwd: beside!, mark }),
      startChild('', { cwd: folder, mark }),
    ]);
    const pids = (path: string) =>
      new Set(processesIn(path, (argv) => argv.includes(mark)).map(({ pid }) => pid));
    const expected = new Set([a.identity.pid, b.identity.pid]);
    expect(pids(inside!)).toEqual(expected);

    symlinkSync(inside!, join(folder, 'link'));
    expect(pids(join(folder, 'link'))).toEqual(expected);
    expect(pids(join(folder, 'nowhere'))).toEqual(new Set());
  });
});
