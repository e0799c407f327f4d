/**
 * A machine's place on this host: the link that leads to it, both addresses of that link, and the user that runs it.
 * All of them follow from one number, and the kernel gives a link's name to one taker only; so whoever made the link has
 * the number, its addresses and its user for itself, among all Orillas of the host, without a record that could be lost.
 * @module
 */
import { createHash } from 'node:crypto';

export interface MachineLink {
  /** From which all else follows; below `LINK_COUNT`. */
  readonly index: number;
  /** The host's end; at most 15 octets (Linux, IFNAMSIZ). */
  readonly name: string;
  readonly hostAddress: string;
  /** Where the machine is reached. */
  readonly machineAddress: string;
  /** User and group of its QEMU. */
  readonly userId: number;
}

/**
 * Of 198.18.0.0/15, which is for benchmarks of networks (RFC 2544): routed nowhere, and unlike the private ranges and
 * 100.64.0.0/10 in use in no network that an edge stands in.
 */
export const ALL_LINKS = '198.18.0.0/16';

/** As many as there are links of two addresses (RFC 3021) in `ALL_LINKS`. */
export const LINK_COUNT = 2 ** 15;

/**
 * Above what systemd gives to containers, and in nobody's password file (systemd, "Users, Groups, UIDs and GIDs": 1879048192
 * to 2147483647 is unused).
 */
const FIRST_USER_ID = 1_900_000_000;

export function machineLink(index: number): MachineLink {
  const address = (offset: number) => `198.18.${(2 * index + offset) >> 8}.${(2 * index + offset) & 255}`;
  return {
    index,
    name: `orilla${index.toString(16).padStart(4, '0')}`,
    hostAddress: address(0),
    machineAddress: address(1),
    userId: FIRST_USER_ID + index,
  };
}

/** The links to try for a machine, one after the other while they are taken: the same for the same key. */
export function* linksFor(key: string, attempts: number): Generator<MachineLink> {
  const first = createHash('sha256').update(key).digest().readUInt16BE(0);
  for (let attempt = 0; attempt < attempts; attempt += 1) yield machineLink((first + attempt) % LINK_COUNT);
}
