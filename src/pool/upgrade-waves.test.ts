import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Upgrade, UpgradeStep, Vm } from './schema.ts';
import { nextWave } from './upgrade-waves.ts';

const OLD = `sha256:${'0'.repeat(64)}`;
const NEW = `sha256:${'1'.repeat(64)}`;

function upgradeOf(names: readonly string[], waveSize: number): Upgrade {
  const steps = names.map((vm): UpgradeStep => ({ vm, status: 'waiting' }));
  return { id: 'u', fromDigest: OLD, imageRef: NEW, waveSize, status: 'running', steps, createdAtMs: 0 };
}

const oldVm: Partial<Vm> = { phase: 'ready', imageDigest: OLD };
const newVm: Partial<Vm> = { phase: 'ready', imageDigest: NEW };
const changing: Partial<Vm> = { ...oldVm, next: { version: 2, imageRef: NEW, phase: 'starting' } };
const failed: Partial<Vm> = {
  ...oldVm,
  failedVersion: { version: 2, imageRef: NEW, reason: 'it never answered' },
};

const look = (upgrade: Upgrade, vms: Readonly<Record<string, Partial<Vm>>>) =>
  nextWave(upgrade, (name) => vms[name] as Vm | undefined);
const statuses = ({ steps }: Upgrade) => steps.map(({ status }) => status);

describe('an upgrade in waves', () => {
  test('changes so many at a time, the next when all of a wave are ready [desktop D17]', () => {
    const first = look(upgradeOf(['a', 'b', 'c'], 2), { a: oldVm, b: oldVm, c: oldVm });
    expect(first.begin).toEqual(['a', 'b']);
    const half = look(first.upgrade, { a: newVm, b: changing, c: oldVm });
    expect([half.begin, statuses(half.upgrade)]).toEqual([[], ['upgraded', 'changing', 'waiting']]);
    const second = look(half.upgrade, { a: newVm, b: newVm, c: oldVm });
    expect(second.begin).toEqual(['c']);
    const last = look(second.upgrade, { a: newVm, b: newVm, c: newVm });
    expect([last.upgrade.status, statuses(last.upgrade)]).toEqual([
      'succeeded',
      ['upgraded', 'upgraded', 'upgraded'],
    ]);
  });

  test('ends with the wave of which one failed, and leaves the others as they are', () => {
    const first = look(upgradeOf(['a', 'b', 'c'], 2), { a: oldVm, b: oldVm, c: oldVm });
    const half = look(first.upgrade, { a: failed, b: changing, c: oldVm });
    expect(half.upgrade.status).toBe('running');
    const { upgrade, begin } = look(half.upgrade, { a: failed, b: newVm, c: oldVm });
    expect([upgrade.status, begin, statuses(upgrade)]).toEqual([
      'failed',
      [],
      ['failed', 'upgraded', 'waiting'],
    ]);
    expect(upgrade.steps[0]?.reason).toBe('it never answered');
  });

  test('passes over what was stopped, has another image by now, or is suspended by the operator', () => {
    const asleep: Partial<Vm> = { ...oldVm, phase: 'suspended', suspendedBy: 'operator' };
    const { upgrade, begin } = look(upgradeOf(['gone', 'other', 'asleep', 'a'], 1), {
      other: newVm,
      asleep,
      a: oldVm,
    });
    expect(begin).toEqual(['a']);
    expect(statuses(upgrade)).toEqual(['skipped', 'skipped', 'skipped', 'changing']);
  });

  test('begins again what was written down and never done', () => {
    const { upgrade } = look(upgradeOf(['a', 'b'], 2), { a: oldVm, b: oldVm });
    expect(look(upgrade, { a: oldVm, b: changing })).toEqual({ upgrade, begin: ['a'] });
  });

  test('never has more than a wave on its way, and ends, whatever becomes of the VMs', () => {
    const outcome = fc.constantFrom('ready', 'failed', 'stopped');
    fc.assert(
      fc.property(
        fc.array(outcome, { maxLength: 12 }),
        fc.integer({ min: 1, max: 5 }),
        (outcomes, waveSize) => {
          const names = outcomes.map((_, index) => `vm-${index}`);
          const vms: Record<string, Partial<Vm>> = Object.fromEntries(names.map((name) => [name, oldVm]));
          let upgrade = upgradeOf(names, waveSize);
          for (let turn = 0; upgrade.status === 'running'; turn += 1) {
            expect(turn).toBeLessThanOrEqual(2 * names.length + 1);
            const next = look(upgrade, vms);
            upgrade = next.upgrade;
            expect(upgrade.steps.filter(({ status }) => status === 'changing').length).toBeLessThanOrEqual(
              waveSize,
            );
            for (const name of next.begin) {
              const what = outcomes[names.indexOf(name)];
              if (what === 'stopped') delete vms[name];
              else vms[name] = what === 'ready' ? newVm : failed;
            }
          }
          const hasFailed = statuses(upgrade).includes('failed');
          expect(upgrade.status).toBe(hasFailed ? 'failed' : 'succeeded');
          if (!hasFailed) expect(statuses(upgrade)).not.toContain('waiting');
        },
      ),
    );
  });
});
