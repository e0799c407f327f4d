import { beforeEach, describe, expect, test } from 'vitest';
import { ManualClock } from '../base/index.ts';
import { silentLog } from '../platform/telemetry/index.ts';
import { poolError } from '../pool/index.ts';
import type { Vm } from '../pool/schema.ts';
import type { VmUse } from './data-plane/vm-uses.ts';
import { IdleVms, untilQuiet } from './idle-vms.ts';

let clock: ManualClock;
let vms: Map<string, Partial<Vm>>;
let uses: Map<string, VmUse>;
let suspended: string[];
let refusals: number;

const traffic = {
  refresh: async () => undefined,
  settled: async () => undefined,
  useOf: (vm: string) => uses.get(vm),
};
const pool = {
  list: () => Array.from(vms, ([name, vm]) => ({ name, phase: 'ready', ...vm }) as Vm),
  suspend: async (name: string) => {
    suspended.push(name);
    if (refusals > 0) throw poolError('vm_conflict', 'another change is under way');
    vms.set(name, { phase: 'suspended' });
  },
};

beforeEach(() => {
  clock = new ManualClock();
  vms = new Map([['photos', {}]]);
  uses = new Map();
  suspended = [];
  refusals = 0;
});

const watch = () => new IdleVms({ clock, log: silentLog, pool, traffic }, 60_000);

describe('VMs that nobody asks anything', () => {
  test('are suspended, from their first moment on', async () => {
    const idle = watch();
    await clock.advance(60_000);
    expect(suspended).toEqual([]);
    await clock.advance(20_000);
    expect(suspended).toEqual(['photos']);
    await idle.close();
  });

  test('are idle as long as before when the clock is set meanwhile', async () => {
    const idle = watch();
    for (const byMs of [24 * 3_600_000, -48 * 3_600_000]) {
      clock.set(byMs);
      await clock.advance(20_000);
      expect(suspended).toEqual([]);
    }
    await clock.advance(40_000);
    expect(suspended).toEqual(['photos']);
    await idle.close();
  });

  test('count from the last octet of their last request', async () => {
    const idle = watch();
    await clock.advance(200);
    uses.set('photos', { active: 0, idleMs: 30_000 });
    await clock.advance(100_000);
    expect(suspended).toEqual([]);
    uses.set('photos', { active: 0, idleMs: 60_000 });
    await clock.advance(10_000);
    expect(suspended).toEqual(['photos']);
    await idle.close();
  });

  test('with a request under way are not idle, however long that takes', async () => {
    uses.set('photos', { active: 1, idleMs: 0 });
    const idle = watch();
    await clock.advance(3_600_000);
    expect(suspended).toEqual([]);
    await idle.close();
  });

  test('are left alone while they are not ready or get a new version, and count anew when they are', async () => {
    vms.set('photos', { phase: 'starting' });
    vms.set('notes', { next: { version: 2, imageRef: 'two', phase: 'starting' } });
    const idle = watch();
    await clock.advance(600_000);
    expect(suspended).toEqual([]);
    vms = new Map([['photos', {}]]);
    await clock.advance(50_000);
    expect(suspended).toEqual([]);
    await clock.advance(20_000);
    expect(suspended).toEqual(['photos']);
    await idle.close();
  });

  test('that could not be suspended are tried again', async () => {
    refusals = 1;
    const idle = watch();
    await clock.advance(70_000);
    refusals = 0;
    await clock.advance(10_000);
    expect(suspended).toEqual(['photos', 'photos']);
    await idle.close();
  });
});

describe('a VM that is to be suspended', () => {
  test('is waited for until its last request is over', async () => {
    uses.set('photos', { active: 2, idleMs: 0 });
    let isQuiet = false;
    const waiting = untilQuiet(clock, traffic, 'photos').then(() => {
      isQuiet = true;
    });
    await clock.advance(5000);
    expect(isQuiet).toBe(false);
    uses.set('photos', { active: 0, idleMs: 0 });
    await clock.advance(100);
    await waiting;
  });

  test('is not waited for without an end', async () => {
    uses.set('photos', { active: 1, idleMs: 0 });
    const waiting = untilQuiet(clock, traffic, 'photos');
    await clock.advance(10_000);
    await waiting;
  });
});
