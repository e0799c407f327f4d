import { GUEST_NETWORK } from '../../src/pool/hypervisor/qemu/guest-network.ts';
import {
  arp,
  ethernet,
  type Ip4,
  icmp,
  icmpv6,
  ip6,
  ipv4,
  ipv6,
  mac,
  TCP,
  tcp,
  udp,
  withTcpChecksum,
} from './frames.ts';

const {
  address: OWN,
  gateway: GATEWAY,
  hardwareAddress: CARD,
  gatewayHardwareAddress: ROUTER,
} = GUEST_NETWORK;
const ETHERTYPE = {
  ip: 0x0800,
  arp: 0x0806,
  vlan: 0x8100,
  qinq: 0x88a8,
  ip6: 0x86dd,
  pppoe: 0x8863,
  lldp: 0x88cc,
};
const LINK_LOCAL = 'fe80:0:0:0:5054:ff:fe12:3456';
const ALL_NODES = 'ff02:0:0:0:0:0:0:1';
const ROUTER6 = 'fe80:0:0:0:5055:aff:fe00:202';
const CLOUD6 = 'fd00:ec2:0:0:0:0:0:254';

const own = (packet: Partial<Ip4> & Pick<Ip4, 'to'>): Buffer =>
  ethernet(
    ROUTER,
    CARD,
    ETHERTYPE.ip,
    ipv4({ from: OWN, protocol: 6, payload: Buffer.alloc(20), ...packet }),
  );

/** A segment from the port of the guest's server. */
export const segment = (to: string, flags: number, port = 8080, from: string = OWN): Buffer =>
  own({ from, to, payload: tcp(from, to, [80, port], flags) });

/**
 * A first segment (SYN) in two fragments, each of which looks like an answer to whoever reads it as a whole segment: the
 * first has the flags of one behind its end, and the second has a port and flags where its numbers are.
 */
export function firstSegmentInFragments(host: string, port: number): Buffer[] {
  const whole = tcp(OWN, host, [80, port], TCP.syn);
  // The acknowledgement's number begins with 80; behind the head comes an octet that is an ACK.
  const lies = Buffer.concat([whole.subarray(8), Buffer.alloc(1), Buffer.from([TCP.ack]), Buffer.alloc(2)]);
  lies.writeUInt16BE(80, 0);
  const payload = Buffer.concat([whole.subarray(0, 8), lies]);
  const summed = withTcpChecksum(OWN, host, payload);
  const first = own({ to: host, payload: summed.subarray(0, 8), hasMore: true });
  first[14 + 20 + 13] = TCP.ack;
  return [first, own({ to: host, payload: summed.subarray(8), offset: 8 })];
}

/**
 * What a guest may try, by name; none of it may come out of its machine.
 *
 * @param host the host's end of its link @param others the host's other addresses, its neighbours', those of services
 */
export function hostileFrames(
  host: string,
  others: readonly string[],
): Readonly<Record<string, readonly Buffer[]>> {
  const answer = tcp(OWN, host, [80, 8080], TCP.ack);
  const everybody = [host, ...others];
  const asks = (frames: { from: string; to: string; type: number; rest: Buffer }) =>
    ethernet(
      '33:33:00:00:00:01',
      CARD,
      ETHERTYPE.ip6,
      icmpv6(frames.from, frames.to, frames.type, frames.rest),
    );
  return {
    'a first segment, to anybody': everybody.flatMap((to) => [
      segment(to, TCP.syn),
      segment(to, TCP.syn | TCP.urgent),
    ]),
    'a segment of no connection': [
      0,
      TCP.fin,
      TCP.fin | TCP.push | TCP.urgent,
      TCP.syn | TCP.fin,
      TCP.syn | TCP.rst,
    ].map((flags) => segment(host, flags)),
    'an answer to others than the host': others.map((to) => segment(to, TCP.ack)),
    'an answer from another port': [own({ to: host, payload: tcp(OWN, host, [81, 8080], TCP.ack) })],
    'an answer from another address': [host, '127.0.0.1', '10.0.2.16', '8.8.8.8', '0.0.0.0', ...others].map(
      (from) => segment(host, TCP.ack, 8080, from),
    ),
    'an answer from another card': [
      '52:54:00:00:00:01',
      ROUTER,
      'ff:ff:ff:ff:ff:ff',
      '00:00:00:00:00:00',
    ].map((from) =>
      ethernet(ROUTER, from, ETHERTYPE.ip, ipv4({ from: OWN, to: host, protocol: 6, payload: answer })),
    ),
    datagrams: everybody.map((to) => own({ to, protocol: 17, payload: udp([80, 53], Buffer.from('x')) })),
    'pings and other ICMP': everybody.flatMap((to) =>
      [8, 13, 5, 3].map((type) => own({ to, protocol: 1, payload: icmp(type) })),
    ),
    'other protocols, and packets within packets': [2, 4, 41, 47, 50, 51, 89, 132, 255].map((protocol) =>
      own({ to: host, protocol, payload: ipv4({ from: OWN, to: host, protocol: 6, payload: answer }) }),
    ),
    'fragments: a whole one, one too short for its flags, others that look like answers': [
      ...firstSegmentInFragments(host, 8080),
      own({ to: host, payload: answer, hasMore: true }),
      own({ to: host, payload: answer.subarray(0, 8), hasMore: true }),
      own({ to: host, payload: answer.subarray(8), offset: 8 }),
      own({ to: host, payload: answer, offset: 8, hasMore: true }),
      own({ to: host, payload: Buffer.alloc(64), offset: 65_528 - 8 }),
    ],
    'a route of its own choice (RFC 791, loose source route)': [
      own({ to: host, payload: answer, options: Buffer.from([131, 7, 4, 10, 0, 0, 1, 0]) }),
    ],
    'an ARP question in others’ names': ['10.0.2.16', host, '0.0.0.0', '192.0.2.1', ...others].map((sender) =>
      ethernet(ROUTER, CARD, ETHERTYPE.arp, arp({ operation: 1, senderMac: CARD, sender, target: GATEWAY })),
    ),
    'an ARP answer that nobody asked for': [GATEWAY, host, ...others].map((sender) =>
      ethernet(
        'ff:ff:ff:ff:ff:ff',
        CARD,
        ETHERTYPE.arp,
        arp({ operation: 2, senderMac: CARD, sender, target: sender }),
      ),
    ),
    'IPv6: routers, neighbours, pings, services, and what is within IPv4': [
      asks({
        from: LINK_LOCAL,
        to: ALL_NODES,
        type: 134,
        rest: Buffer.from('40000708000000000000000003044000', 'hex'),
      }),
      asks({ from: LINK_LOCAL, to: ALL_NODES, type: 133, rest: Buffer.alloc(4) }),
      asks({
        from: LINK_LOCAL,
        to: ALL_NODES,
        type: 136,
        rest: Buffer.concat([Buffer.from('20000000', 'hex'), ip6(ROUTER6), Buffer.from([2, 1]), mac(CARD)]),
      }),
      asks({
        from: LINK_LOCAL,
        to: ALL_NODES,
        type: 135,
        rest: Buffer.concat([Buffer.alloc(4), ip6(ROUTER6)]),
      }),
      asks({ from: LINK_LOCAL, to: ALL_NODES, type: 128, rest: Buffer.alloc(4) }),
      asks({ from: LINK_LOCAL, to: CLOUD6, type: 128, rest: Buffer.alloc(4) }),
      ethernet(ROUTER, CARD, ETHERTYPE.ip6, ipv6(LINK_LOCAL, ROUTER6, 6, answer)),
      ethernet(ROUTER, CARD, ETHERTYPE.ip6, ipv6(LINK_LOCAL, CLOUD6, 17, udp([80, 53], Buffer.from('x')))),
      ethernet(ROUTER, CARD, ETHERTYPE.ip6, ipv6(`0:0:0:0:0:ffff:a00:20f`, ROUTER6, 6, answer)),
    ],
    'frames that are no IP: VLANs, PPPoE, LLDP, spanning trees, nonsense': [
      ...[ETHERTYPE.vlan, ETHERTYPE.qinq].map((type) =>
        ethernet(
          ROUTER,
          CARD,
          type,
          Buffer.concat([
            Buffer.from([0, 1, 8, 0]),
            ipv4({ from: OWN, to: host, protocol: 6, payload: answer }),
          ]),
        ),
      ),
      ...[ETHERTYPE.pppoe, ETHERTYPE.lldp, 0x0026, 0xffff].map((type) =>
        ethernet('01:80:c2:00:00:00', CARD, type, Buffer.alloc(1400, 0x42)),
      ),
    ],
  };
}
