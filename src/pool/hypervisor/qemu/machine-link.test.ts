import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ALL_LINKS, LINK_COUNT, linksFor, machineLink } from './machine-link.ts';

describe("a machine's link", () => {
  test('has both addresses of a pair, a name that says which, and a user', () => {
    expect(machineLink(0x1234)).toEqual({
      index: 0x1234,
      name: 'orilla1234',
      hostAddress: '198.18.36.104',
      machineAddress: '198.18.36.105',
      userId: 1_900_004_660,
    });
    expect(machineLink(LINK_COUNT - 1).machineAddress).toBe('198.18.255.255');
  });

  test('shares nothing with any other, and lies where the way to machines that are no more is closed', () => {
    const links = Array.from({ length: LINK_COUNT }, (_, index) => machineLink(index));
    const all = links.flatMap((link) => [link.name, link.hostAddress, link.machineAddress, link.userId]);
    expect(new Set(all).size).toBe(4 * LINK_COUNT);
    const prefix = ALL_LINKS.replace('0.0/16', '');
    expect(links.every(({ hostAddress }) => hostAddress.startsWith(prefix))).toBe(true);
    // Linux, IFNAMSIZ: 16 octets with the final NUL.
    expect(links.every(({ name }) => name.length <= 15)).toBe(true);
  });
});

test('the links to try are the same for the same machine, and as many others as are asked for', () => {
  fc.assert(
    fc.property(fc.string(), fc.integer({ min: 1, max: 16 }), (key, attempts) => {
      const links = [...linksFor(key, attempts)];
      expect(new Set(links.map(({ name }) => name)).size).toBe(attempts);
      expect([...linksFor(key, attempts)]).toEqual(links);
    }),
  );
});
