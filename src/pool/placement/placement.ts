import type { Random } from '../../base/index.ts';
import type { Claim } from './claim.ts';
import { HOST_STATE, type Host, type HostNumber, HostTable, LIMITS } from './host-table.ts';
import { EVERY, RoomIndex } from './room-index.ts';

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

export interface Decision {
  /** `undefined` when no host has room; `shortOf` says what for. */
  readonly host: HostNumber | undefined;
  /** What spoke for it. */
  readonly nearTo: 'state' | 'template' | 'zone' | 'nothing';
}

/** What a VM does on a host: it is committed but not started, it runs, it is on its way elsewhere. */
export type VmPhase = 'coming' | 'running' | 'leaving';

/**
 * How much more than the mean the host with the VM's state may use, as a part of its CPUs, and still be chosen: going elsewhere
 * costs a copy. Other hosts are chosen for what is near to them up to the mean itself.
 */
const HOTTER_FOR_STATE = 0.01;
/** How much hotter than the mean a host is to be to get an idle VM. */
const IDLE_FROM = 0.01;
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
  readonly #typicalClaim: Claim;
  #state: number;
  /** Of hosts that are open. */
  #load = 0;
  #milliCpus = 0;

  constructor({ random }: { random: Random }, { maxHosts, typicalClaim }: PlacementOptions) {
    this.#hosts = new HostTable(maxHosts);
    this.#typicalClaim = typicalClaim;
    this.#rooms = new RoomIndex(this.#hosts, maxHosts, typicalClaim);
    const [a = 1, b = 0, c = 0, d = 0] = random.bytes(4);
    this.#state = a | (b << 8) | (c << 16) | (d << 24) || 1;
  }

  /** @throws RangeError when there are `maxHosts` already, or too many combinations of zones and labels. */
  addHost(host: Host): HostNumber {
    this.#rooms.cellFor(host.zone, host.labels);
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

  /**
   * What the host's CPUs were used for, all together, as measured some seconds ago.
   *
   * @param changes how many VMs had started and ended on the host by then, all in all: what came and went after that is
   *   added to what was measured. Without it the host would get VM after VM until a measurement shows the first.
   */
  setLoad(host: HostNumber, usedMilliCpus: number, changes: number): void {
    this.#count(host, -1);
    this.#hosts.measure(host, usedMilliCpus, changes);
    this.#changed(host);
  }

  /** A VM is to come to this host. A fact: it is noted even where it exceeds what is free. */
  commit(host: HostNumber, claim: Claim): void {
    this.#count(host, -1);
    this.#hosts.take(host, claim, 1);
    this.#hosts.expect(host, claim.expectedMilliCpus);
    this.#changed(host);
  }

  /** The VM that was committed runs: what it uses will be in what is measured. */
  started(host: HostNumber, claim: Claim): void {
    this.#hosts.expect(host, -claim.expectedMilliCpus);
    this.#hosts.change(host, claim.expectedMilliCpus);
  }

  /** The VM is on its way to another host. It holds what it holds, but its use is no longer reckoned with. */
  leaving(host: HostNumber, claim: Claim): void {
    this.#leave(host, claim, 1);
  }

  /** The VM that was leaving did not leave after all. */
  stays(host: HostNumber, claim: Claim): void {
    this.#leave(host, claim, -1);
  }

  /**
   * The VM is no longer there, or will not come. The claim is the one that it was committed or leaving with; of one that ran,
   * what it was measured to use is the better expectation of what is used no more.
   */
  release(host: HostNumber, claim: Claim, phase: VmPhase = 'running'): void {
    const { expectedMilliCpus } = claim;
    this.#count(host, -1);
    this.#hosts.take(host, claim, -1);
    if (phase === 'coming') this.#hosts.expect(host, -expectedMilliCpus);
    else this.#hosts.change(host, -expectedMilliCpus);
    if (phase === 'leaving') {
      this.#hosts.expect(host, expectedMilliCpus);
      this.#hosts.leaving[host] = (this.#hosts.leaving[host] as number) - 1;
    }
    this.#changed(host);
    this.#hosts.recycle(host);
  }

  /** The part of a host's CPUs that is used, as far as is known. */
  use(host: HostNumber, moreMilliCpus = 0): number {
    return this.#hosts.use(host, moreMilliCpus);
  }

  /** The part of all open hosts' CPUs that is used. */
  get meanUse(): number {
    return this.#milliCpus === 0 ? 0 : this.#load / this.#milliCpus;
  }

  /** Decides, and takes nothing: `commit` does. */
  place(request: PlaceRequest): Decision {
    const { claim, stateHost, templateHosts, zone } = request;
    const mean = this.meanUse;
    if (stateHost !== undefined && this.#isGood(stateHost, claim, mean + HOTTER_FOR_STATE)) {
      return { host: stateHost, nearTo: 'state' };
    }
    const withTemplate = templateHosts && this.#coolestOf(templateHosts, claim, mean);
    if (withTemplate !== undefined) return { host: withTemplate, nearTo: 'template' };
    const near = zone === undefined ? undefined : this.#rooms.coolest(zone, claim);
    if (near !== undefined && this.#isGood(near, claim, mean)) return { host: near, nearTo: 'zone' };
    const far = this.#elsewhere(claim, zone);
    if (far !== undefined && (near === undefined || this.#isGood(far, claim, mean))) {
      return { host: far, nearTo: 'nothing' };
    }
    if (near !== undefined) return { host: near, nearTo: 'zone' };
    return { host: this.#anywhere(claim) ?? this.#anywhere(claim, EVERY), nearTo: 'nothing' };
  }

  /** A host of the zone that is hotter than the mean, for a VM that uses little: room on cool hosts is for busy ones. */
  placeIdle(claim: Claim, zone: number): HostNumber | undefined {
    return this.#rooms.coolest(zone, claim, undefined, this.meanUse + IDLE_FROM);
  }

  /** Whether the host has room for one more VM of the typical kind, or will have when a VM has left. */
  hasRoom(host: HostNumber): boolean {
    return (this.#hosts.leaving[host] as number) > 0 || this.#hosts.fits(host, this.#typicalClaim);
  }

  /** By how much the host's use exceeds what it would be at the mean. */
  excessMilliCpus(host: HostNumber): number {
    return (this.#hosts.load[host] as number) - this.meanUse * (this.#hosts.milliCpus[host] as number);
  }

  sizeOf(host: HostNumber): { milliCpus: number; memoryBytes: number } {
    return {
      milliCpus: this.#hosts.milliCpus[host] as number,
      memoryBytes: this.#hosts.memoryBytes[host] as number,
    };
  }

  zoneOf(host: HostNumber): number {
    return this.#hosts.zone[host] as number;
  }

  /** Hosts that take VMs and use more of their CPUs than the mean and `above`, or less than it and `below`: the furthest first. */
  outside(above: number, below: number): HostNumber[] {
    const hosts = this.#hosts;
    const mean = this.meanUse;
    const found: HostNumber[] = [];
    for (let number = 0; number < hosts.count; number += 1) {
      const host = number as HostNumber;
      const excess = hosts.use(host) - mean;
      if (hosts.state[host] === HOST_STATE.open && (excess > above || -excess > below)) found.push(host);
    }
    const distance = (host: HostNumber) => Math.abs(hosts.use(host) - mean);
    return found.sort((one, other) => distance(other) - distance(one));
  }

  /** Why nothing was found: the first limit that no host meets together with those before it. Looks at every host. */
  shortOf(claim: Claim): (typeof LIMITS)[number] | undefined {
    let met = 0;
    for (let host = 0; host < this.#hosts.count; host += 1) {
      met = Math.max(met, this.#hosts.limitsMet(host, claim));
    }
    return LIMITS[met];
  }

  #isGood(host: HostNumber, claim: Claim, maxUse: number): boolean {
    return this.#hosts.fits(host, claim) && this.#hosts.use(host) <= maxUse;
  }

  #coolestOf(hosts: readonly HostNumber[], claim: Claim, maxUse: number): HostNumber | undefined {
    let best: HostNumber | undefined;
    for (let index = 0; index < hosts.length && index < MAX_TEMPLATE_HOSTS; index += 1) {
      const host = hosts[index] as HostNumber;
      if (this.#isGood(host, claim, maxUse)) best = this.#cooler(best, host);
    }
    return best;
  }

  /** The coolest host with room of a few zones drawn at random, so that many who decide at once do not agree. */
  #elsewhere(claim: Claim, but: number | undefined): HostNumber | undefined {
    const { zones } = this.#rooms;
    let best: HostNumber | undefined;
    for (let draw = 0; draw < OTHER_ZONES && zones.length > 0; draw += 1) {
      const zone = zones[Math.floor(this.#random() * zones.length)] as number;
      if (zone !== but) best = this.#cooler(best, this.#rooms.coolest(zone, claim));
    }
    return best;
  }

  /** The coolest host of all zones that has room: what has a place at all gets one. */
  #anywhere(claim: Claim, tries?: number): HostNumber | undefined {
    let best: HostNumber | undefined;
    for (const zone of this.#rooms.zones) best = this.#cooler(best, this.#rooms.coolest(zone, claim, tries));
    return best;
  }

  #cooler(one: HostNumber | undefined, other: HostNumber | undefined): HostNumber | undefined {
    if (one === undefined || other === undefined) return one ?? other;
    return this.#hosts.use(other) < this.#hosts.use(one) ? other : one;
  }

  #leave(host: HostNumber, claim: Claim, sign: 1 | -1): void {
    this.#count(host, -1);
    this.#hosts.leaving[host] = (this.#hosts.leaving[host] as number) + sign;
    this.#hosts.expect(host, -sign * claim.expectedMilliCpus);
    this.#changed(host);
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
