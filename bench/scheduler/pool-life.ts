import type { Claim } from '../../src/pool/placement/claim.ts';
import type { HostNumber } from '../../src/pool/placement/host-table.ts';
import type { Move } from '../../src/pool/placement/rebalance.ts';
import { inReturnOrder } from '../../src/pool/placement/return-order.ts';
import { claimOfSize, priorityOfSize, sizeOf } from './contracts.ts';
import type { Fleet } from './fleet.ts';
import type { Scheduler } from './peers.ts';

/** Of VMs that come: they were there before, and their state is on the host where they ran. */
const RETURNING = 0.5;
/** So many are switched off before the first comes back. */
const SUSPENDED_AT_LEAST = 1000;
const DRIFT_EVERY_SECONDS = 10;
const REJOIN_AFTER_SECONDS = 180;

/** How the simulated pool lives. Days and losses are quicker than real ones, so that some fall into the time simulated. */
export const LIFE = {
  vmHours: 2,
  reportEverySeconds: 5,
  reportAgeSeconds: 3,
  /** With 10 Gbit/s between hosts. */
  moveBytesASecond: 2 ** 30,
  lossEverySeconds: 60,
  daySeconds: 3600,
  dayAmplitude: 0.2,
  settledAfterSeconds: 600,
} as const;

/** A VM that was switched off, and what is left of it on its host. */
interface Suspended {
  readonly size: number;
  readonly host: HostNumber;
  readonly ownLevel: number;
  readonly usedMilliCpus: number;
}

/** Decides which VMs are to move; peers have none. */
type Rebalancer = (isMoving: (vm: number) => boolean) => Move<number>[];

export interface PoolLifeDeps {
  readonly scheduler: Scheduler;
  readonly fleet: Fleet;
  readonly random: () => number;
  readonly rebalancer?: Rebalancer | undefined;
}

/**
 * The simulated time of a pool, second by second: VMs come, go, and use more or less of their CPUs; hosts are lost and others
 * join; the scheduler hears of what hosts use some seconds late.
 */
export class PoolLife {
  readonly #scheduler: Scheduler;
  readonly #fleet: Fleet;
  readonly #random: () => number;
  readonly #rebalancer: Rebalancer | undefined;
  readonly #zones: number;
  readonly #maxHosts: number;
  readonly #vmsWanted: number;
  readonly #running: number[];
  readonly #suspended: Suspended[] = [];
  readonly #moving = new Map<number, { readonly move: Move<number>; readonly endSecond: number }>();
  readonly #upSince: Float64Array;
  readonly #measured: Float64Array;
  readonly #changesSeen: Int32Array;
  readonly #joinSeconds: number[] = [];
  #now = 0;
  readonly counts = { arrived: 0, returned: 0, atState: 0, lost: 0, cameBack: 0, refused: 0, moved: 0 };

  constructor(deps: PoolLifeDeps, { zones, maxHosts }: { zones: number; maxHosts: number }) {
    this.#scheduler = deps.scheduler;
    this.#fleet = deps.fleet;
    this.#random = deps.random;
    this.#rebalancer = deps.rebalancer;
    this.#zones = zones;
    this.#maxHosts = maxHosts;
    this.#running = deps.fleet.running();
    this.#vmsWanted = this.#running.length;
    // The hosts that are there at the beginning have been there for long.
    this.#upSince = new Float64Array(maxHosts).fill(-LIFE.settledAfterSeconds);
    this.#measured = new Float64Array(maxHosts);
    this.#changesSeen = new Int32Array(maxHosts);
    for (const host of this.#hosts()) this.#measure(host);
  }

  second(): void {
    this.#now += 1;
    this.#fleet.activity = 1 + LIFE.dayAmplitude * Math.sin((2 * Math.PI * this.#now) / LIFE.daySeconds);
    this.#report();
    this.#endMoves();
    this.#depart();
    this.#arrive();
    if (this.#now % LIFE.lossEverySeconds === 0) this.#loseHost();
    if (this.#joinSeconds[0] === this.#now) this.#join();
    this.#startMoves();
  }

  /** How far each host that has been up for long is from the mean, as a part of its CPUs. */
  distances(): number[] {
    const hosts = this.#hosts();
    const sum = (amount: (host: HostNumber) => number) => hosts.reduce((all, host) => all + amount(host), 0);
    const mean = sum((host) => this.#fleet.usedOn(host)) / sum((host) => this.#fleet.milliCpusOf(host));
    return hosts
      .filter((host) => this.#now - (this.#upSince[host] as number) >= LIFE.settledAfterSeconds)
      .map((host) => this.#fleet.usedOn(host) / this.#fleet.milliCpusOf(host) - mean);
  }

  #hosts(): HostNumber[] {
    const hosts: HostNumber[] = [];
    for (let host = 0; host < this.#maxHosts; host += 1) if (this.#fleet.isThere(host)) hosts.push(host);
    return hosts;
  }

  /** Some hosts measure in this second, and what others measured before arrives. */
  #report(): void {
    const { reportEverySeconds, reportAgeSeconds } = LIFE;
    for (let host = 0; host < this.#maxHosts; host += 1) {
      if (!this.#fleet.isThere(host)) continue;
      const phase = (this.#now + host) % reportEverySeconds;
      if (phase === reportAgeSeconds) {
        this.#scheduler.setLoad(host, this.#measured[host] as number, this.#changesSeen[host] as number);
      }
      if (phase !== 0) continue;
      if ((this.#now + host) % DRIFT_EVERY_SECONDS === 0) this.#fleet.drift(host, DRIFT_EVERY_SECONDS);
      this.#measure(host);
    }
  }

  #measure(host: HostNumber): void {
    this.#measured[host] = this.#fleet.usedOn(host);
    this.#changesSeen[host] = this.#fleet.changesOn(host);
  }

  #depart(): void {
    const count = this.#vmsWanted / (LIFE.vmHours * 3600);
    for (let left = Math.floor(count + this.#random()); left > 0; left -= 1) {
      const vm = this.#drawFrom(this.#running);
      const host = this.#fleet.hostOf(vm);
      this.#release(vm);
      this.#suspended.push({
        size: this.#fleet.sizeOf(vm),
        host,
        ownLevel: this.#fleet.ownLevel(vm),
        usedMilliCpus: this.#fleet.used(vm),
      });
      this.#fleet.destroy(vm);
    }
  }

  #arrive(): void {
    while (this.#running.length < this.#vmsWanted) {
      const isReturning = this.#suspended.length > SUSPENDED_AT_LEAST && this.#random() < RETURNING;
      const was = isReturning ? this.#drawFrom(this.#suspended) : undefined;
      const size = was?.size ?? sizeOf(this.#random());
      const claim = claimOfSize(size);
      const request = {
        // What it used before says more than what its contract leads to expect.
        claim: was ? { ...claim, expectedMilliCpus: Math.round(was.usedMilliCpus) } : claim,
        zone: Math.floor(this.#random() * this.#zones),
        stateHost: was && this.#fleet.isThere(was.host) ? was.host : undefined,
      };
      const { host } = this.#scheduler.place(request);
      if (host === undefined) {
        this.counts.refused += 1;
        return;
      }
      const vm = this.#fleet.create(size, was?.ownLevel);
      this.#running.push(vm);
      this.#start(vm, host, request.claim);
      this.counts.arrived += 1;
      if (request.stateHost !== undefined) this.counts.returned += 1;
      if (request.stateHost === host) this.counts.atState += 1;
    }
  }

  /** The VM is off its host, and does not come to another one that it was moving to. */
  #release(vm: number): void {
    const host = this.#fleet.hostOf(vm);
    const move = this.#moving.get(vm)?.move;
    const expectedMilliCpus = Math.round(this.#fleet.used(vm));
    this.#fleet.take(vm);
    this.#moving.delete(vm);
    if (move) {
      this.#scheduler.release(host, move.claim, 'leaving');
      this.#scheduler.release(move.to, move.claim, 'coming');
    } else this.#scheduler.release(host, { ...this.#fleet.claim(vm), expectedMilliCpus });
  }

  #start(vm: number, host: HostNumber, claim: Claim): void {
    this.#fleet.put(vm, host);
    this.#scheduler.commit(host, claim);
    this.#scheduler.started(host, claim);
  }

  #drawFrom<Item>(items: Item[]): Item {
    const index = Math.floor(this.#random() * items.length);
    const item = items[index] as Item;
    items[index] = items.at(-1) as Item;
    items.pop();
    return item;
  }

  /** A host fails: its VMs come back elsewhere in the same second. */
  #loseHost(): void {
    const hosts = this.#hosts();
    const host = hosts[Math.floor(this.#random() * hosts.length)] as HostNumber;
    this.#scheduler.removeHost(host);
    const vms = this.#fleet
      .vmsOn(host)
      .map((vm) => ({ vm, priority: priorityOfSize(this.#fleet.sizeOf(vm)) }));
    for (const { vm } of inReturnOrder(vms)) {
      const claim = this.#fleet.claim(vm);
      this.counts.lost += 1;
      this.#release(vm);
      const { host: next } = this.#scheduler.place({ claim });
      if (next === undefined) {
        this.#running.splice(this.#running.indexOf(vm), 1);
        this.#fleet.destroy(vm);
        continue;
      }
      this.#start(vm, next, claim);
      this.counts.cameBack += 1;
    }
    this.#fleet.removeHost(host);
    this.#joinSeconds.push(this.#now + REJOIN_AFTER_SECONDS);
  }

  #join(): void {
    this.#joinSeconds.shift();
    const host = this.#fleet.nextHost();
    const number = this.#scheduler.addHost(host);
    this.#fleet.addHost(number, host);
    this.#upSince[number] = this.#now;
    this.#measure(number);
  }

  #startMoves(): void {
    for (const move of this.#rebalancer?.((vm) => this.#moving.has(vm)) ?? []) {
      const endSecond = this.#now + 1 + Math.ceil(move.claim.memoryBytes / LIFE.moveBytesASecond);
      this.#moving.set(move.vm, { move, endSecond });
      this.counts.moved += 1;
    }
  }

  #endMoves(): void {
    for (const [vm, { move, endSecond }] of this.#moving) {
      if (endSecond > this.#now) continue;
      this.#moving.delete(vm);
      if (!this.#fleet.isThere(move.to)) {
        // It was lost meanwhile, and the VM stays where it is.
        this.#scheduler.release(move.to, move.claim, 'coming');
        this.#scheduler.stays(move.from, move.claim);
        continue;
      }
      this.#fleet.take(vm);
      this.#scheduler.release(move.from, move.claim, 'leaving');
      this.#fleet.put(vm, move.to);
      this.#scheduler.started(move.to, move.claim);
    }
  }
}
