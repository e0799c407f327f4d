import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { addressKind } from './address-kind.ts';

describe('an address is', () => {
  test.for([
    '1.1.1.1',
    '9.255.255.255',
    '100.63.255.255',
    '100.128.0.1',
    '172.15.0.1',
    '172.32.0.1',
    '192.167.1.1',
    '2606:4700:4700::1111',
    '2001:4860:4860::8888',
    '::ffff:1.1.1.1',
    '64:ff9b::101:101',
  ])('public: %s', (address) => {
    expect(addressKind(address)).toBe('public');
  });

  test.for([
    '127.0.0.1',
    '127.255.255.254',
    '10.1.2.3',
    '172.16.0.1',
    '172.31.255.255',
    '192.168.1.1',
    '169.254.1.1',
    '100.64.0.1',
    '100.127.255.255',
    '198.18.0.1',
    '192.0.2.7',
    '::1',
    '0:0:0:0:0:0:0:1',
    '::ffff:127.0.0.1',
    '::ffff:7f00:1',
    '::ffff:10.0.0.1',
    '::127.0.0.1',
    '64:ff9b::7f00:1',
    '64:ff9b:1::1',
    'fe80::1',
    'fe80::1%eth0',
    'febf::1',
    'fd00::1',
    'fc00::1',
    'fec0::1',
    '2001:db8::1',
    '4000::1',
  ])('local: %s', (address) => {
    expect(addressKind(address)).toBe('local');
  });

  test.for([
    '169.254.169.254',
    '::ffff:169.254.169.254',
    '::ffff:a9fe:a9fe',
    '64:ff9b::a9fe:a9fe',
    'fd00:ec2::254',
    'fd20:ce::254',
    '100.100.100.200',
    '168.63.129.16',
    '0.0.0.0',
    '0.1.2.3',
    '::',
    '::0.0.0.0',
    '::ffff:0.0.0.0',
    '224.0.0.1',
    '239.255.255.255',
    '255.255.255.255',
    '240.0.0.1',
    'ff02::1',
    '2002:7f00:1::',
    '2001:0:7f00:1::',
    '',
    'localhost',
    '127.1',
    '2130706433',
  ])('never to be asked: %j', (address) => {
    expect(addressKind(address)).toBe('never');
  });

  test('of the same kind in each way to hold it in an IPv6 address', () => {
    fc.assert(
      fc.property(fc.ipV4(), (address) => {
        const octets = address.split('.').map(Number);
        const hex = octets.map((octet) => octet.toString(16).padStart(2, '0')).join('');
        const groups = `${hex.slice(0, 4)}:${hex.slice(4)}`;
        for (const mapped of [`::ffff:${address}`, `::ffff:${groups}`, `0:0:0:0:0:ffff:${groups}`]) {
          expect(addressKind(mapped), mapped).toBe(addressKind(address));
        }
      }),
    );
  });
});
