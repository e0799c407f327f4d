import type { Random } from '../../base/index.ts';
import type { Claim } from './claim.ts';
import { HOST_STATE, type Host, type HostNumber, HostTable, LIMITS } from './host-table.ts';
import { RoomIndex } from './room-index.ts';

export interface PlacementOptions {
  readonly maxHosts: number;
  /** What most VMs take, about: decides how fast a host is found, not whether. */
  readonly typicalClaim: Claim;
}

export interface PlaceRequest {
  readonly claim: Claim;
  /** The host with the VM's disk or suspended memory. */
  readonly stateHost?: HostNumber | undefined;
  /** Hosts with a template of its image; the first few are looked at. */
  readonly templateHosts?: readonly HostNumber[] | undefined;
  /** Where it should be, if nothing speaks against it. */
  readonly zone?: number | undefined;
}

/** A host and what spoke for it, or the first of the limits that no host met on top of those before it. */
export type Decision =
  | { readonly host: HostNumber; readonly nearTo: 'state' | 'template' | 'zone' | 'nothing' }
  | { readonly host: undefined; readonly shortOf: (typeof LIMITS)[number] };

/** How much more than the mean a host may use, as a part of its CPUs, and still be chosen before others. */
const BALANCED = 0.02;
/** The same for the host with the VM's state: going elsewhere costs a copy. */
const BALANCED_WITH_STATE = 0.04;
const MAX_TEMPLATE_HOSTS = 8;
/** Power of two choices: among more the gain is small. */
const OTHER_ZONES = 2;

/**
 * Which host a VM is to run on [desktop D5, D6]: one with room, near to what the VM needs, and so that all hosts use their
 * CPUs alike. Knows hosts and sums, no VMs. Decides and remembers, nothing else: it neither waits nor reads a clock.
 */
export class Placement {
  readonly #hosts: HostTable;
  readonly #rooms: RoomIndex;
  #state: number;
  /** Of hosts that are open. */
  #load = 0;
  #milliCpus = 0;

  constructor({ random }: { random: Random }, { maxHosts, typicalClaim }: PlacementOptions) {
    this.#hosts = new HostTable(maxHosts);
    this.#rooms = new RoomIndex(this.#hosts, maxHosts, typicalClaim);
    const [a = 1, b = 0, c = 0, d = 0] = random.bytes(4);
    this.#state = (a | (b << 8) | (c << 16) | (d << 24)) || 1;
  }

  /** @throws RangeError when there are `maxHosts` already. */
  addHost(host: Host): HostNumber {
    const number = this.#hosts.add(host);
    this.#rooms.add(number);
    this.#count(number, 1);
    return number;
  }

  /** The host keeps its VMs and gets no further ones: before maintenance. */
  drain(host: HostNumber): void {
    if (this.#hosts.state[host] === HOST_STATE.open) this.#close(host, HOST_STATE.draining);
  }

  /** The host takes VMs again after `drain`. */
  open(host: HostNumber): void {
    if (this.#hosts.state[host] !== HOST_STATE.draining) return;
    this.#hosts.state[host] = HOST_STATE.open;
    this.#rooms.add(host);
    this.#count(host, 1);
  }

  /** The host was lost or taken away. What it held is released VM by VM, as each is placed elsewhere or given up. */
  removeHost(host: HostNumber): void {
    this.#close(host, HOST_STATE.gone);
    this.#hosts.recycle(host);
  }

  /** What the host's CPUs were used for, all together, as measured some seconds ago. */
  setLoad(host: HostNumber, usedMilliCpus: number): void {
    this.#count(host, -1);
    this.#hosts.measure(host, usedMilliCpus);
    this.#changed(host);
  }

  /** A VM is on this host from now on, or is about to be. A fact: it is noted even where it exceeds what is free. */
  commit(host: HostNumber, claim: Claim): void {
    this.#count(host, -1);
    this.#hosts.take(host, claim, 1);
    this.#changed(host);
  }

  /** A VM that was committed with this claim is no longer there. */
  release(host: HostNumber, claim: Claim): void {
    this.#count(host, -1);
    this.#hosts.take(host, claim, -1);
    this.#changed(host);
    this.#hosts.recycle(host);
  }

  /** The part of a host's CPUs that is used, as far as is known. */
  use(host: HostNumber): number {
    return this.#hosts.use(host);
  }

  /** The part of all open hosts' CPUs that is used. */
  get meanUse(): number {
    return this.#milliCpus === 0 ? 0 : this.#load / this.#milliCpus;
  }

  /** Decides, and takes nothing: `commit` does. */
  place(request: PlaceRequest): Decision {
    const { claim, stateHost, templateHosts, zone } = request;
    const mean = this.meanUse;
    if (stateHost !== undefined && this.#isGood(stateHost, claim, mean + BALANCED_WITH_STATE)) {
      return { host: stateHost, nearTo: 'state' };
    }
    const limit = mean + BALANCED;
    const withTemplate = templateHosts && this.#coolestOf(templateHosts, claim, limit);
    if (withTemplate !== undefined) return { host: withTemplate, nearTo: 'template' };
    const near = zone === undefined ? undefined : this.#rooms.coolest(zone, claim);
    if (near !== undefined && this.#isGood(near, claim, limit)) return { host: near, nearTo: 'zone' };
    const far = this.#elsewhere(claim, zone);
    if (far !== undefined && (near === undefined || this.#isGood(far, claim, limit))) {
      return { host: far, nearTo: 'nothing' };
    }
    return near === undefined ? this.#anywhere(claim) : { host: near, nearTo: 'zone' };
  }

  #isGood(host: HostNumber, claim: Claim, limit: number): boolean {
    return this.#hosts.fits(host, claim) && this.#hosts.use(host, claim.expectedMilliCpus) <= limit;
  }

  #coolestOf(hosts: readonly HostNumber[], claim: Claim, limit: number): HostNumber | undefined {
    let best: HostNumber | undefined;
    for (let index = 0; index < hosts.length && index < MAX_TEMPLATE_HOSTS; index += 1) {
      const host = hosts[index] as HostNumber;
      if (!this.#isGood(host, claim, limit)) continue;
      if (best === undefined || this.#hosts.use(host) < this.#hosts.use(best)) best = host;
    }
    return best;
  }

  /** The coolest host with room of a few zones drawn at random, so that many who decide at once do not agree. */
  #elsewhere(claim: Claim, but: number | undefined): HostNumber | undefined {
    const { zones } = this.#rooms;
    let best: HostNumber | undefined;
    for (let draw = 0; draw < OTHER_ZONES && zones.length > 0; draw += 1) {
      const zone = zones[Math.floor(this.#random() * zones.length)] as number;
      const found = zone === but ? undefined : this.#rooms.coolest(zone, claim);
      if (found !== undefined && (best === undefined || this.#hosts.use(found) < this.#hosts.use(best))) {
        best = found;
      }
    }
    return best;
  }

  /** Looks at every host: what has a place at all gets one. Some tens of microseconds for 20,000 hosts. */
  #anywhere(claim: Claim): Decision {
    const hosts = this.#hosts;
    let best: HostNumber | undefined;
    let met = 0;
    for (let number = 0; number < hosts.count; number += 1) {
      const host = number as HostNumber;
      met = Math.max(met, hosts.limitsMet(host, claim));
      if (met < LIMITS.length || !hosts.fits(host, claim)) continue;
      if (best === undefined || hosts.use(host) < hosts.use(best)) best = host;
    }
    return best === undefined
      ? { host: undefined, shortOf: LIMITS[met] ?? 'hosts' }
      : { host: best, nearTo: 'nothing' };
  }

  #close(host: HostNumber, state: number): void {
    this.#hosts.check(host);
    this.#count(host, -1);
    this.#rooms.remove(host);
    this.#hosts.state[host] = state;
  }

  #changed(host: HostNumber): void {
    this.#count(host, 1);
    this.#rooms.update(host);
  }

  /** Adds an open host to what is known of all, or takes it out while it changes. */
  #count(host: HostNumber, sign: 1 | -1): void {
    if (this.#hosts.state[host] !== HOST_STATE.open) return;
    this.#load += sign * (this.#hosts.load[host] as number);
    this.#milliCpus += sign * (this.#hosts.milliCpus[host] as number);
  }

  /** xorshift32 (Marsaglia 2003), from 0 to below 1. */
  #random(): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) / 2 ** 32;
  }
}
