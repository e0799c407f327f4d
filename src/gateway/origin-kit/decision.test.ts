import { describe, expect, it } from 'vitest';
import { decide, decideApplication, type RunningVm, UserWindow } from './decision.ts';
import { taggedAuthority } from './tag-check.ts';

const named = { host: 'h', ip: 'i', url: 'u', isReady: true };

describe('the application in a VM that a gateway names', () => {
  const vm = (more: Partial<RunningVm> = {}): RunningVm => ({
    name: 'photos',
    host: 'photos.edge.example',
    ip: '192.0.2.1',
    url: 'http://photos.edge.example:8080/',
    isReady: true,
    isDeploying: false,
    ...more,
  });
  const kindOf = (assigned: string, vms: readonly RunningVm[], isBegun = false) =>
    decideApplication(assigned, vms, 'sha256:a', isBegun).kind;

  it.for([
    'photos.edge.example',
    'photos.edge.example:8080',
    'PHOTOS.edge.example',
    'http://photos.edge.example:8080/',
    '192.0.2.1',
  ])(
    'is looked for in the VM of that name, however it is written: %s [gateway G12] [gateway G13]',
    (assigned) => {
      expect(kindOf(assigned, [vm()])).toBe('deploy');
    },
  );

  it('is put there when another or none runs there, and left alone when it does [gateway G13]', () => {
    expect(kindOf('photos.edge.example', [vm({ applicationDigest: 'sha256:b' })])).toBe('deploy');
    expect(kindOf('photos.edge.example', [vm({ applicationDigest: 'sha256:a' })])).toBe('runs');
    expect(kindOf('photos.edge.example', [vm({ isDeploying: true })])).toBe('wait');
  });

  it('has failed when it was asked for, is not on its way and does not run', () => {
    expect(kindOf('photos.edge.example', [vm()], true)).toBe('failed');
    expect(kindOf('photos.edge.example', [vm({ isDeploying: true })], true)).toBe('wait');
    expect(kindOf('photos.edge.example', [vm({ applicationDigest: 'sha256:a' })], true)).toBe('runs');
  });

  it('is put into no VM but the one that is named', () => {
    expect(kindOf('other.edge.example', [vm()])).toBe('absent');
    expect(kindOf('', [vm()])).toBe('absent');
    const two = [vm({ name: 'news', host: 'news.edge.example' }), vm()];
    expect(decideApplication('photos.edge.example', two, 'sha256:a', false)).toMatchObject({
      vm: { name: 'photos' },
    });
  });
});

describe('the decision about a visitor', () => {
  it('is to ask when there is none of our VMs and enough users [gateway G11]', () => {
    expect(decide({ kind: 'unknown' }, 1, undefined, 0)).toBe('ask');
    expect(decide({ kind: 'unknown' }, 2, { users: 3, withinMs: 1 }, 0)).toBe('pass');
    expect(decide({ kind: 'unknown' }, 3, { users: 3, withinMs: 1 }, 0)).toBe('ask');
    expect(decide({ kind: 'asked' }, 9, undefined, 0)).toBe('pass');
    expect(decide({ kind: 'refused', untilMs: 10 }, 9, undefined, 5)).toBe('pass');
    expect(decide({ kind: 'refused', untilMs: 10 }, 9, undefined, 10)).toBe('ask');
    expect(decide({ kind: 'loaded', vm: named, untilMs: 10 }, 1, { users: 9, withinMs: 1 }, 5)).toBe('name');
    expect(decide({ kind: 'loaded', vm: named, untilMs: 10 }, 1, { users: 9, withinMs: 1 }, 10)).toBe('ask');
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
