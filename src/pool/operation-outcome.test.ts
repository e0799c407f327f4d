import { describe, expect, test } from 'vitest';
import { operationOutcome } from './operation-outcome.ts';
import type { Vm } from './schema.ts';

const vm = (change: Partial<Vm>): Vm => ({
  name: 'photos',
  owner: 'photos',
  phase: 'ready',
  version: 2,
  imageRef: 'two',
  configuration: { cpus: 1, memoryBytes: 1, diskBytes: 0 },
  ownerNote: '',
  createdAtMs: 0,
  sinceMs: 0,
  restarts: 0,
  ...change,
});
const next = { version: 3, imageRef: 'three' };

describe('an operation', () => {
  test.for(['fetching', 'starting', 'waiting'] as const)('goes on while its version is %s', (phase) => {
    expect(operationOutcome({ kind: 'load', version: 2 }, vm({ phase }))).toBeUndefined();
    expect(operationOutcome({ kind: 'load', version: 3 }, vm({ next: { ...next, phase } }))).toBeUndefined();
  });

  test('goes on while its version is ready and does not serve yet', () => {
    expect(
      operationOutcome({ kind: 'load', version: 3 }, vm({ next: { ...next, phase: 'ready' } })),
    ).toBeUndefined();
  });

  test('succeeds when its version serves', () => {
    expect(operationOutcome({ kind: 'load', version: 2 }, vm({}))).toEqual({ status: 'succeeded' });
  });

  test('fails, and says why, when its version is given up', () => {
    const why = { phase: 'failed', reason: 'it broke' } as const;
    const failed = { status: 'failed', reason: 'it broke' };
    expect(operationOutcome({ kind: 'load', version: 2 }, vm(why))).toEqual(failed);
    expect(operationOutcome({ kind: 'load', version: 3 }, vm({ next: { ...next, ...why } }))).toEqual(failed);
    expect(
      operationOutcome({ kind: 'load', version: 3 }, vm({ failedVersion: { ...next, reason: 'it broke' } })),
    ).toEqual(failed);
  });

  test('is cancelled when its VM is stopped, and when another version was asked for', () => {
    expect(operationOutcome({ kind: 'load', version: 2 }, undefined)).toMatchObject({ status: 'cancelled' });
    expect(operationOutcome({ kind: 'load', version: 2 }, vm({ phase: 'stopping' }))).toMatchObject({
      reason: 'the VM was stopped',
    });
    expect(operationOutcome({ kind: 'load', version: 1 }, vm({}))).toMatchObject({
      status: 'cancelled',
      reason: 'another version was asked for',
    });
  });
});
