import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DEFAULT_LIMITS } from './limits.ts';
import { clientNetwork } from './limits-client-network.ts';
import { ClientTable } from './limits-client-table.ts';

describe('one client', () => {
  test.for([
    ['192.0.2.7', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
    ['2001:db8:1:2::6', '2001:db8:1:2'],
    ['2001:db8::6', '2001:db8:0:0'],
    ['2001:db8::', '2001:db8:0:0'],
    ['::1', '0:0:0:0'],
    ['fe80::1%eth0', 'fe80:0:0:0'],
    ['64:ff9b::192.0.2.7', '64:ff9b:0:0'],
  ] as const)('is who has the address %s: %s', ([address, network]) => {
    expect(clientNetwork(address)).toBe(network);
  });

  test('is the same for all addresses of a /64, and for no other', () => {
    fc.assert(
      fc.property(fc.ipV6(), (address) => {
        const canonical = new URL(`http://[${address}]/`).hostname.slice(1, -1);
        fc.pre(!canonical.startsWith('::ffff:'));
        const full = clientNetwork(canonical).split(':');
        expect(full).toHaveLength(4);
        expect(clientNetwork(`${full.join(':')}:1:2:3:4`)).toBe(full.join(':'));
      }),
    );
  });
});

describe('the limits of a client', () => {
  test('bound its connections, whatever other clients have', () => {
    const table = new ClientTable();
    table.limits = { ...DEFAULT_LIMITS, connectionsPerClient: 2 };
    expect(
      ['192.0.2.1', '192.0.2.1', '192.0.2.1', '192.0.2.2'].map((from) => table.connect(from, 0)),
    ).toEqual([true, true, false, true]);
    table.disconnect('192.0.2.1');
    expect(table.connect('192.0.2.1', 0)).toBe(true);
  });

  test('bound its requests: a burst of two seconds, then as many as each second brings', () => {
    const table = new ClientTable();
    table.limits = { ...DEFAULT_LIMITS, requestsPerSecondPerClient: 10 };
    const sent = (nowMs: number) =>
      Array.from({ length: 100 }, () => table.request('2001:db8::1', nowMs)).filter(Boolean).length;
    expect(sent(0)).toBe(20);
    expect(sent(0)).toBe(0);
    expect(sent(500)).toBe(5);
    expect(sent(60_000)).toBe(20);
    // Another address of the same network.
    expect(table.request('2001:db8::2', 60_000)).toBe(false);
  });

  test('are not escaped by a new connection, and forgotten when they mean nothing any more', () => {
    const table = new ClientTable();
    table.limits = { ...DEFAULT_LIMITS, requestsPerSecondPerClient: 1 };
    table.connect('192.0.2.1', 0);
    while (table.request('192.0.2.1', 0));
    table.disconnect('192.0.2.1');
    table.connect('192.0.2.1', 0);
    expect(table.request('192.0.2.1', 0)).toBe(false);
    table.disconnect('192.0.2.1');
    table.sweep(1999);
    expect(table.size).toBe(1);
    table.sweep(2000);
    expect(table.size).toBe(0);
  });

  test('are kept in a table that does not grow without end, and whose open connections are never forgotten', () => {
    const table = new ClientTable();
    table.limits = { ...DEFAULT_LIMITS, connectionsPerClient: 1, requestsPerSecondPerClient: 1 };
    table.connect('192.0.2.1', 0);
    for (let i = 0; i < 60_000; i += 1) table.request(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, 0);
    expect(table.size).toBe(50_000);
    expect(table.connect('192.0.2.1', 0)).toBe(false);
  });
});
