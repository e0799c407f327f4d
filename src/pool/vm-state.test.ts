import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Machine } from './hypervisor/hypervisor.ts';
import {
  ATTEMPT_LIMIT,
  initialState,
  retryDelayMs,
  transition,
  type VmEvent,
  type VmState,
} from './vm-state.ts';

const machine = {} as Machine;
const failed: VmEvent = { kind: 'failed', reason: 'it broke', isFinal: false };
const run = (events: readonly VmEvent[], from: VmState = initialState(0), nowMs = 0) =>
  events.reduce((state, event) => transition(state, event, nowMs), from);

describe('the life of a VM', () => {
  it('goes from its image to its first answer', () => {
    expect(run([{ kind: 'fetched' }]).phase).toBe('starting');
    expect(run([{ kind: 'fetched' }, { kind: 'answered', machine }])).toMatchObject({
      phase: 'ready',
      machine,
    });
  });

  it('is ready at once with a machine that was left running, and only before it starts one itself', () => {
    expect(run([{ kind: 'adopted', machine }])).toMatchObject({ phase: 'ready', machine });
    const starting = run([{ kind: 'fetched' }]);
    expect(run([{ kind: 'adopted', machine }], starting)).toBe(starting);
  });

  it('is given up after six failed starts in a row', () => {
    let state = initialState(0);
    for (let attempt = 1; attempt < ATTEMPT_LIMIT; attempt += 1) {
      state = run([failed], state);
      expect(state).toMatchObject({ phase: 'waiting', attempt });
      state = run([{ kind: 'retried' }], state);
    }
    expect(run([failed], state)).toMatchObject({ phase: 'failed', reason: 'it broke' });
  });

  it('is given up at once when another attempt cannot help', () => {
    expect(run([{ ...failed, isFinal: true }]).phase).toBe('failed');
  });

  it('is never given up once it has served, only started again less eagerly', () => {
    let state = initialState(0);
    for (let crash = 0; crash < 20; crash += 1) {
      // Killed while it served, then a start that fails.
      for (const events of [
        [{ kind: 'fetched' }, { kind: 'answered', machine }, failed] as const,
        [failed] as const,
      ]) {
        state = run(events, state);
        expect(state.phase).toBe('waiting');
        state = run([{ kind: 'retried' }], state);
      }
      state = run([failed], state);
      state = run([{ kind: 'retried' }], state);
    }
  });

  it('starts again without delay after it served for long', () => {
    const ready = run([failed, { kind: 'retried' }, { kind: 'fetched' }, { kind: 'answered', machine }]);
    expect(transition(ready, failed, 60_000)).toMatchObject({
      phase: 'waiting',
      attempt: 1,
      retryAtMs: 60_000,
    });
    expect(transition(ready, failed, 100)).toMatchObject({ attempt: 2, retryAtMs: 350 });
  });

  it('tells why the last attempt failed until one succeeds', () => {
    const tried = run([failed, { kind: 'retried' }]);
    expect(tried).toMatchObject({ phase: 'fetching', reason: 'it broke' });
    const started = run([{ kind: 'fetched' }], tried);
    expect(started).toMatchObject({ phase: 'starting', reason: 'it broke' });
    expect(run([{ kind: 'answered', machine }], started)).not.toHaveProperty('reason');
  });

  it('waits longer each time, within half a minute', () => {
    expect([1, 2, 3, 4].map(retryDelayMs)).toEqual([0, 250, 500, 1000]);
    expect(retryDelayMs(1000)).toBe(30_000);
  });

  it('never leaves "stopping", and serves only after an answer, and is suspended only from there, whatever happens', () => {
    const event = fc.constantFrom<VmEvent>(
      { kind: 'fetched' },
      { kind: 'answered', machine },
      failed,
      { ...failed, isFinal: true },
      { kind: 'retried' },
      { kind: 'suspending' },
      { kind: 'suspended' },
      { kind: 'kept' },
      { kind: 'resumed' },
      { kind: 'stopped' },
    );
    fc.assert(
      fc.property(fc.array(event, { maxLength: 40 }), (events) => {
        let state = initialState(0);
        for (const next of events) {
          const before = state;
          state = transition(state, next, 1);
          if (before.phase === 'stopping') expect(state).toBe(before);
          if (state.phase === 'ready' && before.phase !== 'ready') {
            expect(['answered', 'kept']).toContain(next.kind);
          }
          if (state.phase === 'suspended' && before !== state) expect(before.phase).toBe('suspending');
          if (next.kind === 'stopped') expect(state.phase).toBe('stopping');
        }
      }),
    );
  });
});
