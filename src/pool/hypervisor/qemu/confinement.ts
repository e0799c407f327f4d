/**
 * Runs QEMU where it can do no harm: in a network namespace and a mount namespace of its own, as a user of its own, without
 * a capability.
 *
 *     host ── orilla0000 ═══ eth0 ─(rewrites the address)─ tap0 ── guest
 *             198.18.0.0     198.18.0.1        10.0.2.2      10.0.2.15
 *                            └──────── network namespace ─────────────┘
 *
 * - Into the guest goes TCP to its HTTP port, from the host's end of the link. Out of it go answers to that, and nothing
 *   that opens a connection, whatever the guest's root sends: other protocols, other addresses, another hardware address
 *   are dropped where they enter the host (nft, table netdev).
 * - QEMU itself is in the namespace. Were it taken over, its own sockets could send nothing and take nothing.
 * - Addresses are rewritten without connection tracking: no table that a guest could fill.
 * - Of /proc it sees its own process only (proc(5), `hidepid`; Linux 5.8 and later, where that is each mount's own).
 * - The namespace has no name and is held by QEMU alone: with its process it goes, and the link and the rules with it. What
 *   stays on the host is one route: to machines that are no more leads no way, least of all the one to the Internet.
 * @module
 */
import { GUEST_NETWORK } from './guest-network.ts';
import { ALL_LINKS, type MachineLink } from './machine-link.ts';

/** The launcher's exit status when the link is somebody else's (sysexits.h, EX_TEMPFAIL). */
export const LINK_TAKEN_STATUS = 75;

/** Threads are all that QEMU may make more of: virtual processors and up to 64 for its disks. */
export const THREADS_LIMIT = 256;
const DESCRIPTORS_LIMIT = 1024;

export interface Confinement {
  readonly link: MachineLink;
  /** The guest's HTTP port. */
  readonly port: number;
  /** A process in the host's network namespace: the link's other end goes there. */
  readonly hostPid: number;
  readonly needsKvm: boolean;
}

/** A command that becomes `command` once it is confined; its process keeps its number. */
export function confinedCommand(confinement: Confinement, command: readonly string[]): [string, string[]] {
  return [
    'unshare',
    [
      '--net',
      '--mount',
      '--ipc',
      '--',
      'sh',
      '-c',
      launcherScript(confinement),
      'orilla-launcher',
      ...command,
    ],
  ];
}

/**
 * What makes the surroundings and then is replaced by the command, its arguments. Every value in it is a number or an
 * address of ours. The way to the host opens last. `unshare` changes the user because it takes a number for a number, where
 * `setpriv` asks the host's directory of users for one of that name.
 */
function launcherScript({ link, port, hostPid, needsKvm }: Confinement): string {
  const { name, hostAddress, machineAddress, userId } = link;
  const { address, gateway, prefixBits, hardwareAddress, gatewayHardwareAddress } = GUEST_NETWORK;
  return `set -e
ip link add eth0 type veth peer name ${name} netns ${hostPid} || exit ${LINK_TAKEN_STATUS}
ip -batch - <<'END'
tuntap add dev tap0 mode tap user ${userId}
link set tap0 address ${gatewayHardwareAddress} up
address add ${gateway}/${prefixBits} dev tap0
neighbour add ${address} lladdr ${hardwareAddress} dev tap0 nud permanent
address add ${machineAddress}/31 dev eth0
link set eth0 up
END
nft -f - <<'END'
${rules(link, port)}
END
echo 1 >/proc/sys/net/ipv4/ip_forward
nsenter --net=/proc/${hostPid}/ns/net ip -batch - <<'END'
route replace unreachable ${ALL_LINKS}
link set ${name} addrgenmode none
address add ${hostAddress}/31 dev ${name}
link set ${name} up
END
mount -t tmpfs -o size=64k,nosuid,noexec orilla /dev/net
mknod -m 666 /dev/net/tun c 10 200
${needsKvm ? 'mknod -m 666 /dev/net/kvm c 10 232\nmount --bind /dev/net/kvm /dev/kvm' : ''}
mount -t proc -o nosuid,nodev,noexec,hidepid=invisible proc /proc
exec prlimit --core=0 --nofile=${DESCRIPTORS_LIMIT} --nproc=${THREADS_LIMIT} \\
  setpriv --no-new-privs --inh-caps=-all --bounding-set=-all,+setuid,+setgid \\
  unshare --setgid=${userId} --setuid=${userId} -- "$@"`;
}

/**
 * `guest`: where the guest's frames enter. Who has the gateway's address it may ask, in its own name: for any other the
 * kernel would note a neighbour, in a table of all namespaces of the host. Its answers come from its own address and port, go
 * to the host's end, whole (of a fragment the rule would read the wrong octets) and belong to a connection: with ACK or RST. A first segment (SYN) opens one, and to one with neither
 * (FIN, or nothing) a port that listens does not answer, while any other does. `enter`, `leave`: what passes between the two links. `own-…`: nothing ends or begins in the namespace.
 */
const rules = ({ hostAddress, machineAddress }: MachineLink, port: number): string => `table netdev machine {
  chain guest {
    type filter hook ingress device "tap0" priority 0; policy drop;
    ether saddr ${GUEST_NETWORK.hardwareAddress} arp htype 1 arp ptype ip arp hlen 6 arp plen 4 arp operation request arp saddr ip ${GUEST_NETWORK.address} arp daddr ip ${GUEST_NETWORK.gateway} accept
    ether saddr ${GUEST_NETWORK.hardwareAddress} ip hdrlength 5 ip frag-off & 0x3fff == 0 ip saddr ${GUEST_NETWORK.address} ip daddr ${hostAddress} tcp sport ${port} tcp flags & (fin | syn | rst | ack) { ack, syn | ack, fin | ack, rst, rst | ack } accept
  }
}
table ip machine {
  chain enter {
    type filter hook prerouting priority raw; policy drop;
    iifname "eth0" ip saddr ${hostAddress} ip daddr ${machineAddress} tcp dport ${port} ip daddr set ${GUEST_NETWORK.address} accept
    iifname "tap0" accept
  }
  chain leave {
    type filter hook postrouting priority srcnat; policy accept;
    oifname "eth0" ip saddr set ${machineAddress}
  }
  chain own-in {
    type filter hook input priority filter; policy drop;
  }
  chain own-out {
    type filter hook output priority filter; policy drop;
  }
}
table ip6 machine {
  chain enter {
    type filter hook prerouting priority raw; policy drop;
  }
  chain own-out {
    type filter hook output priority filter; policy drop;
  }
}`;
