/** Frames as an attacker makes them: every field is whatever is asked for, and the checksums are right. */

const octets = (...values: readonly number[]): Buffer => Buffer.from(values);
const u16 = (value: number): Buffer => octets((value >> 8) & 255, value & 255);
export const mac = (text: string): Buffer => Buffer.from(text.replaceAll(':', ''), 'hex');
export const ip4 = (text: string): Buffer => octets(...text.split('.').map(Number));
/** Written in full: eight groups. */
export const ip6 = (text: string): Buffer =>
  Buffer.concat(text.split(':').map((group) => u16(Number(`0x${group}`))));

/** RFC 1071 */
function checksum(data: Buffer): Buffer {
  let sum = 0;
  for (let at = 0; at < data.length; at += 2) sum += ((data[at] ?? 0) << 8) | (data[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return u16(~sum);
}

export const ethernet = (to: string, from: string, type: number, payload: Buffer): Buffer => {
  const frame = Buffer.concat([mac(to), mac(from), u16(type), payload]);
  return Buffer.concat([frame, Buffer.alloc(Math.max(0, 60 - frame.length))]);
};

export interface Ip4 {
  readonly from: string;
  readonly to: string;
  readonly protocol: number;
  readonly payload: Buffer;
  /** In octets; a multiple of 8. */
  readonly offset?: number;
  readonly hasMore?: boolean;
  readonly options?: Buffer;
}

/** RFC 791 */
export function ipv4({ from, to, protocol, payload, offset = 0, hasMore = false, options }: Ip4): Buffer {
  const optionsLength = options?.length ?? 0;
  const before = Buffer.concat([
    octets(0x45 + optionsLength / 4, 0),
    u16(20 + optionsLength + payload.length),
    u16(4711),
    u16((hasMore ? 0x2000 : 0) | (offset / 8)),
    octets(64, protocol),
  ]);
  const after = Buffer.concat([ip4(from), ip4(to), options ?? Buffer.alloc(0)]);
  return Buffer.concat([before, checksum(Buffer.concat([before, u16(0), after])), after, payload]);
}

/** RFC 9293; flags as in its figure 1. */
export const TCP = { fin: 1, syn: 2, rst: 4, push: 8, ack: 16, urgent: 32 } as const;

export const tcp = (from: string, to: string, ports: readonly [number, number], flags: number): Buffer =>
  withTcpChecksum(
    from,
    to,
    Buffer.concat([
      u16(ports[0]),
      u16(ports[1]),
      octets(0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags),
      u16(8192),
      u16(0),
      u16(0),
    ]),
  );

export function withTcpChecksum(from: string, to: string, segment: Buffer): Buffer {
  const summed = Buffer.from(segment);
  summed.writeUInt16BE(0, 16);
  const pseudo = Buffer.concat([ip4(from), ip4(to), octets(0, 6), u16(segment.length)]);
  checksum(Buffer.concat([pseudo, summed])).copy(summed, 16);
  return summed;
}

/** RFC 768; a checksum of 0 is none. */
export const udp = (ports: readonly [number, number], payload: Buffer): Buffer =>
  Buffer.concat([u16(ports[0]), u16(ports[1]), u16(8 + payload.length), u16(0), payload]);

/** RFC 792 */
export function icmp(type: number, code = 0, rest: Buffer = Buffer.alloc(4)): Buffer {
  const head = octets(type, code);
  return Buffer.concat([head, checksum(Buffer.concat([head, u16(0), rest])), rest]);
}

export interface Arp {
  readonly operation: number;
  readonly senderMac: string;
  readonly sender: string;
  readonly target: string;
}

/** RFC 826 */
export const arp = ({ operation, senderMac, sender, target }: Arp): Buffer =>
  Buffer.concat([
    octets(0, 1, 8, 0, 6, 4),
    u16(operation),
    mac(senderMac),
    ip4(sender),
    Buffer.alloc(6),
    ip4(target),
  ]);

/** RFC 8200 */
export const ipv6 = (from: string, to: string, next: number, payload: Buffer): Buffer =>
  Buffer.concat([octets(0x60, 0, 0, 0), u16(payload.length), octets(next, 255), ip6(from), ip6(to), payload]);

/** RFC 4443, with its checksum; in an IPv6 packet. */
export function icmpv6(from: string, to: string, type: number, rest: Buffer): Buffer {
  const head = octets(type, 0);
  const length = 4 + rest.length;
  const pseudo = Buffer.concat([ip6(from), ip6(to), u16(0), u16(length), octets(0, 0, 0, 58)]);
  const sum = checksum(Buffer.concat([pseudo, head, u16(0), rest]));
  return ipv6(from, to, 58, Buffer.concat([head, sum, rest]));
}
