import { describe, expect, test } from 'vitest';
import { HostList } from './host-list.ts';

const allows = (patterns: string[], host: string, port: number, defaultPort = 80) =>
  new HostList(patterns).allows(host, port, defaultPort);

describe('a list of hosts', () => {
  test('that is empty allows nothing', () => {
    expect(allows([], 'photos.example', 80)).toBe(false);
  });

  test('allows a host at the port of its protocol, and at others only when they are listed', () => {
    expect(allows(['photos.example'], 'photos.example', 80)).toBe(true);
    expect(allows(['photos.example'], 'photos.example', 443, 443)).toBe(true);
    expect(allows(['photos.example'], 'photos.example', 443)).toBe(false);
    expect(allows(['photos.example:8443'], 'photos.example', 8443, 443)).toBe(true);
    expect(allows(['photos.example:8443'], 'photos.example', 443, 443)).toBe(false);
    expect(allows(['Photos.Example'], 'photos.example', 80)).toBe(true);
  });

  test('takes "*." for what is below, at whole labels, and "*" for everything', () => {
    expect(allows(['*.example'], 'photos.example', 80)).toBe(true);
    expect(allows(['*.example'], 'a.photos.example', 80)).toBe(true);
    expect(allows(['*.photos.example'], 'photos.example', 80)).toBe(false);
    expect(allows(['*.photos.example'], 'evilphotos.example', 80)).toBe(false);
    expect(allows(['*.example:8080'], 'photos.example', 8080)).toBe(true);
    expect(allows(['*.example:8080'], 'photos.example', 80)).toBe(false);
    expect(allows(['*'], 'photos.example', 80)).toBe(true);
    expect(allows(['*'], 'photos.example', 25)).toBe(false);
    expect(allows(['*:8080'], '[2001:db8::1]', 8080)).toBe(true);
  });

  test('knows an address in each of its spellings, and no part of it for a wildcard', () => {
    expect(allows(['[2001:DB8:0::1]:81'], '[2001:db8::1]', 81)).toBe(true);
    expect(allows(['[2001:db8::1]'], '[2001:db8:0:0::1]', 80)).toBe(true);
    expect(allows(['192.0.2.7'], '192.0.2.7', 80)).toBe(true);
    expect(allows(['*.2.7'], '192.0.2.7', 80)).toBe(false);
  });
});
