import { describe, expect, it } from 'vitest';
import type { VmUpstream } from './data-plane.ts';
import { chooseVm, mayReplay, parseTarget } from './target.ts';

describe('a request target', () => {
  it('takes the host from the Host field, in lower case and without port', () => {
    expect(parseTarget('/a?b', 'Photos.Example:8080')).toEqual({
      hostName: 'photos.example',
      host: 'Photos.Example:8080',
      path: '/a?b',
    });
    expect(parseTarget('/', 'photos.example.')?.hostName).toBe('photos.example');
    expect(parseTarget('/', '[2001:db8::1]:8080')?.hostName).toBe('[2001:db8::1]');
  });

  it('takes it from the URL in absolute form, whatever Host says', () => {
    expect(parseTarget('http://a.example:80/x?y', 'b.example')).toMatchObject({
      hostName: 'a.example',
      path: '/x?y',
    });
    expect(parseTarget('http://a.example', 'b.example')?.path).toBe('/');
    expect(parseTarget('http://a.example?q', undefined)?.path).toBe('/?q');
  });

  it('refuses what names no host, or could be read in two ways', () => {
    for (const [url, host] of [
      ['/', undefined],
      ['/', ''],
      ['/', 'a.example, b.example'],
      ['/', 'a.example/x'],
      ['/', 'user@a.example'],
      ['/', 'a.example:port'],
      ['/', '.a.example'],
      ['http://user@a.example/', 'a.example'],
      ['a.example:443', 'a.example'],
      ['ftp://a.example/', 'a.example'],
    ] as const) {
      expect(parseTarget(url, host), `${url} ${host}`).toBeUndefined();
    }
  });
});

describe('who serves', () => {
  const vm = (name: string) => ({ name, host: '127.0.0.1', port: 1, isTls: false });
  const route = { origin: 'photos', upstream: vm('origin') };

  it('is the origin while no VM is ready or the request is outside its scope, and then the VMs in turn [gateway G10] [gateway G17]', () => {
    const choose = (vms: VmUpstream[], turn: number, method = 'GET', path = '/') =>
      chooseVm({ ...route, vms }, method, path, turn)?.name;
    expect(choose([], 7)).toBeUndefined();
    const vms = [vm('a'), vm('b')];
    expect([1, 2, 3, 4].map((turn) => choose(vms, turn))).toEqual(['b', 'a', 'b', 'a']);

    const pictures = { ...vm('a'), scope: { methods: ['GET', 'HEAD'], paths: ['/photos/', '/api/'] } };
    expect(choose([pictures], 1, 'GET', '/photos/1.jpg')).toBe('a');
    expect(choose([pictures], 1, 'POST', '/photos/1.jpg')).toBeUndefined();
    expect(choose([pictures], 1, 'GET', '/login')).toBeUndefined();
    expect(choose([pictures, vm('b')], 0, 'POST', '/login')).toBe('b');
  });
});

describe('a request that a VM failed', () => {
  it('is sent to the origin when it may be sent twice, or was not sent at all, and its body is still here', () => {
    expect(mayReplay('GET', true, true)).toBe(true);
    expect(mayReplay('POST', false, true)).toBe(true);
    expect(mayReplay('POST', true, true)).toBe(false);
    expect(mayReplay('PATCH', true, true)).toBe(false);
    expect(mayReplay('PUT', true, false)).toBe(false);
    expect(mayReplay('GET', false, false)).toBe(false);
  });
});
