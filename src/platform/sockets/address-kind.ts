/**
 * What may be reached at an IP address, by the registries of special-purpose addresses (RFC 6890): who is not trusted must
 * not make this machine talk to what only this machine can reach.
 * @module
 */
import { isIP } from 'node:net';
import { blockList, withoutZone } from './subnets.ts';

/**
 * - `public`: a server of the Internet;
 * - `local`: this machine or a network that is not the Internet: only for whom the operator allowed it;
 * - `never`: no server at all, or one that gives a cloud machine's secrets to whoever asks.
 */
export type AddressKind = 'public' | 'local' | 'never';

const NEVER = blockList(
  '0.0.0.0/8', // this network; Linux connects to itself
  '169.254.169.254/32', // metadata of most clouds
  '100.100.100.200/32', // metadata of Alibaba Cloud
  '192.0.0.192/32', // metadata of Oracle Cloud
  '168.63.129.16/32', // Azure's wire server, though its address is public
  '224.0.0.0/4', // multicast
  '240.0.0.0/4', // reserved, and broadcast
  '::/128', // unspecified; Linux connects to itself
  'fd00:ec2::254/128', // metadata of AWS
  'fd20:ce::254/128', // metadata of Google Cloud
  'ff00::/8', // multicast
  '2001::/32', // Teredo: a tunnel to an IPv4 address that is hidden in it
  '2002::/16', // 6to4: the same
);

const LOCAL_IPV4 = blockList(
  '10.0.0.0/8',
  '100.64.0.0/10', // carrier-grade NAT (RFC 6598)
  '127.0.0.0/8',
  '169.254.0.0/16', // link-local
  '172.16.0.0/12',
  '192.0.0.0/24', // IETF protocol assignments
  '192.0.2.0/24', // documentation, as the two below
  '198.51.100.0/24',
  '203.0.113.0/24',
  '192.88.99.0/24', // 6to4 relays
  '192.168.0.0/16',
  '198.18.0.0/15', // benchmarks
);

/** What is unicast on the Internet (RFC 4291 §2.4); of IPv6 all else is local or not in use. */
const GLOBAL_IPV6 = blockList('2000::/3');
/** Inside it: protocol assignments, documentation. */
const LOCAL_IPV6 = blockList('2001::/23', '2001:db8::/32', '3fff::/20');

/** Ranges that hold an IPv4 address in their last 32 bits: mapped, compatible, translated (RFC 6052), NAT64. */
const HOLDS_IPV4 = blockList('::ffff:0:0/96', '::/96', '::ffff:0:0:0/96', '64:ff9b::/96');

/** The kind of an address as `dns.lookup` gives it; `never` for what is no IP address. */
export function addressKind(address: string): AddressKind {
  const bare = withoutZone(address);
  const family = isIP(bare);
  if (family === 4) return ipv4Kind(bare);
  if (family !== 6) return 'never';
  // Of the many spellings of an IPv6 address the URL parser makes the one of RFC 5952.
  const canonical = new URL(`http://[${bare}]/`).hostname.slice(1, -1);
  if (NEVER.check(canonical, 'ipv6')) return 'never';
  if (canonical !== '::1' && HOLDS_IPV4.check(canonical, 'ipv6')) return ipv4Kind(lastFourOctets(canonical));
  return GLOBAL_IPV6.check(canonical, 'ipv6') && !LOCAL_IPV6.check(canonical, 'ipv6') ? 'public' : 'local';
}

function ipv4Kind(address: string): AddressKind {
  if (NEVER.check(address, 'ipv4')) return 'never';
  return LOCAL_IPV4.check(address, 'ipv4') ? 'local' : 'public';
}

/** `::ffff:7f00:1` → `127.0.0.1` */
function lastFourOctets(canonical: string): string {
  const [high = '', low = ''] = canonical.split(':').slice(-2);
  const octets = [high, low].map((group) => group.padStart(4, '0')).join('');
  return Array.from({ length: 4 }, (_, at) => Number.parseInt(octets.slice(2 * at, 2 * at + 2), 16)).join(
    '.',
  );
}
