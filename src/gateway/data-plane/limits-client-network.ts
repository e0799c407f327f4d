/**
 * Who counts as one client: an IPv4 address, or the first 64 bits of an IPv6 address, because whoever has one of these
 * networks has all 2⁶⁴ addresses of it (RFC 6177).
 *
 * @param address as a socket tells it: IPv4, IPv6 (`2001:db8::1`, `fe80::1%eth0`).
 */
export function clientNetwork(address: string): string {
  if (!address.includes(':')) return address;
  const [head = '', tail] = address.replace(/%.*$/s, '').split('::');
  const groups = head === '' ? [] : head.split(':');
  const behind = tail === undefined || tail === '' ? [] : tail.split(':');
  // The last four octets may be written as IPv4: two groups.
  const written = groups.length + behind.length + (address.includes('.') ? 1 : 0);
  const zeros = tail === undefined ? 0 : 8 - written;
  return [...groups, ...Array<string>(Math.max(0, zeros)).fill('0'), ...behind].slice(0, 4).join(':');
}
