import { describe, expect, test } from 'vitest';
import { inSubnets, isSubnet } from './subnets.ts';

describe('subnets', () => {
  test.for(['10.0.0.0/8', '0.0.0.0/0', '192.0.2.7', '192.0.2.7/32', '::/0', 'fd00::/8', '2001:db8::1'])(
    'are written so: %s',
    (text) => expect(isSubnet(text)).toBe(true),
  );

  test.for([
    '',
    '10.0.0.0/33',
    '10.0.0/8',
    '10.0.0.0/',
    '10.0.0.0/8/8',
    '::/129',
    'fe80::1%eth0',
    'all',
    '10.0.0.0/-1',
  ])('are not written so: %j', (text) => expect(isSubnet(text)).toBe(false));

  test('hold the addresses of both families, IPv4 in IPv6 too, and nothing that is none', () => {
    const isIn = inSubnets(['10.0.0.0/8', '192.0.2.7', 'fd00::/8']);
    for (const address of [
      '10.0.0.0',
      '10.255.255.255',
      '192.0.2.7',
      '::ffff:10.1.2.3',
      'fd12::1',
      'fd12::1%eth0',
    ]) {
      expect(isIn(address), address).toBe(true);
    }
    for (const address of ['11.0.0.0', '192.0.2.8', '::ffff:11.1.2.3', 'fe80::1', '', 'localhost']) {
      expect(isIn(address), address).toBe(false);
    }
    expect(inSubnets([])('10.0.0.1')).toBe(false);
  });
});
