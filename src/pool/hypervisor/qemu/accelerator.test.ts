import { describe, expect, test } from 'vitest';
import { judge } from './accelerator.ts';

describe('the verdict on accelerators', () => {
  test.for([
    [
      'KVM that boots sooner',
      { bootedMs: 300 },
      { bootedMs: 2100 },
      'kvm',
      'KVM boots a kernel in 300 ms; TCG boots it in 2.1 s',
    ],
    [
      'KVM that boots later',
      { bootedMs: 9000 },
      { bootedMs: 2100 },
      'tcg',
      'KVM boots a kernel in 9 s; TCG boots it in 2.1 s',
    ],
    [
      'KVM that is no better',
      { bootedMs: 2100 },
      { bootedMs: 2100 },
      'tcg',
      'KVM boots a kernel in 2.1 s; TCG boots it in 2.1 s',
    ],
    [
      'KVM alone',
      { bootedMs: 300 },
      { failure: 'no word' },
      'kvm',
      'KVM boots a kernel in 300 ms; TCG: no word',
    ],
    [
      'KVM that hangs',
      { failure: 'not booted after 2.1 s' },
      { bootedMs: 2100 },
      'tcg',
      'KVM does not boot a kernel here (not booted after 2.1 s); TCG boots it in 2.1 s',
    ],
    [
      'neither of them',
      { failure: 'no word' },
      { failure: 'not booted after 60 s' },
      'tcg',
      'KVM does not boot a kernel here (no word); TCG: not booted after 60 s',
    ],
  ] as const)('for %s says which one is taken, and why', ([, kvm, tcg, accelerator, reason]) => {
    expect(judge(kvm, tcg)).toEqual({ accelerator, reason });
  });
});
