import { describe, expect, it } from 'vitest';
import { decide, UserWindow } from './decision.ts';
import { taggedAuthority } from './tag-check.ts';

const vm = { host: 'h', ip: 'i', url: 'u', isReady: true };

describe('the decision about a visitor', () => {
  it('is to ask when there is none of our VMs and enough users [gateway G11]', () => {
    expect(decide({ kind: 'unknown' }, 1, undefined, 0)).toBe('ask');
    expect(decide({ kind: 'unknown' }, 2, { users: 3, withinMs: 1 }, 0)).toBe('pass');
    expect(decide({ kind: 'unknown' }, 3, { users: 3, withinMs: 1 }, 0)).toBe('ask');
    expect(decide({ kind: 'asked' }, 9, undefined, 0)).toBe('pass');
    expect(decide({ kind: 'refused', untilMs: 10 }, 9, undefined, 5)).toBe('pass');
    expect(decide({ kind: 'refused', untilMs: 10 }, 9, undefined, 10)).toBe('ask');
    expect(decide({ kind: 'loaded', vm, untilMs: 10 }, 1, { users: 9, withinMs: 1 }, 5)).toBe('name');
    expect(decide({ kind: 'loaded', vm, untilMs: 10 }, 1, { users: 9, withinMs: 1 }, 10)).toBe('ask');
  });

  it('counts users, not requests, and forgets those of long ago', () => {
    const window = new UserWindow(1000);
    expect(window.count('a', 0)).toBe(1);
    expect(window.count('a', 500)).toBe(1);
    expect(window.count('b', 900)).toBe(2);
    expect(window.count('c', 1600)).toBe(2);
  });
});

describe('the address in a tag', () => {
  it('is found in each of its forms [gateway G1]', () => {
    for (const value of [
      'virtualmachine.api.bng1234.example',
      'Virtualmachine.api.bng1234.example/version1/virtualmachine',
      'http://virtualmachine.api.bng1234.example//version1/virtualmachine',
    ]) {
      expect(taggedAuthority(value), value).toBe('virtualmachine.api.bng1234.example');
    }
    expect(taggedAuthority('11.22.1.1:8081')).toBe('11.22.1.1:8081');
    expect(taggedAuthority('[2001:db8::1]:8081/version1')).toBe('[2001:db8::1]:8081');
    for (const value of ['', 'a b', 'user@host', 'ftp://a', 'host:port'])
      expect(taggedAuthority(value)).toBeUndefined();
  });
});
