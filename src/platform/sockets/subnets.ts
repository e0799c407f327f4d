import { BlockList, isIP } from 'node:net';

/** Whether this is an address with the length of its prefix (`10.0.0.0/8`, `fd00::/8`), or an address alone. */
export function isSubnet(text: string): boolean {
  const [network = '', prefix, ...more] = text.split('/');
  const family = isIP(network);
  if (family === 0 || network.includes('%') || more.length > 0) return false;
  return prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= bitsOf(family));
}

/** @param subnets each as `isSubnet` takes it. */
export function blockList(...subnets: readonly string[]): BlockList {
  const list = new BlockList();
  for (const subnet of subnets) {
    const [network = '', prefix] = subnet.split('/');
    const family = isIP(network);
    list.addSubnet(network, Number(prefix ?? bitsOf(family)), family === 6 ? 'ipv6' : 'ipv4');
  }
  return list;
}

/** A test for the addresses in any of these subnets. An IPv4 address may be given as IPv6 too (`::ffff:10.0.0.1`). */
export function inSubnets(subnets: readonly string[]): (address: string) => boolean {
  const list = blockList(...subnets);
  return (address) => {
    const bare = withoutZone(address);
    const family = isIP(bare);
    return family !== 0 && list.check(bare, family === 6 ? 'ipv6' : 'ipv4');
  };
}

/** A zone (`fe80::1%eth0`) is the machine's own business. */
export const withoutZone = (address: string): string => address.replace(/%.*$/s, '');

const bitsOf = (family: number): number => (family === 6 ? 128 : 32);
