/**
 * How many decisions one core takes in a second, and how long one takes, while VMs come and go as fast as can be.
 * @module
 */
import type { Claim } from '../../src/pool/placement/claim.ts';
import type { HostNumber } from '../../src/pool/placement/host-table.ts';
import type { Decision, PlaceRequest } from '../../src/pool/placement/placement.ts';
import { claimOfSize, sizeOf } from './contracts.ts';
import type { Fleet } from './fleet.ts';
import type { Scheduler } from './peers.ts';

/** A VM goes, and another comes. */
interface Turn {
  readonly from: HostNumber;
  readonly gives: Claim;
  readonly size: number;
  readonly request: PlaceRequest;
}

export interface Rate {
  /** Of a core's time, as the kernel accounts it for the whole process. */
  readonly perCpuSecond: number;
  /** By the clock: less when the core has other work as well. */
  readonly perSecond: number;
}

/** As many are drawn beforehand and carried out at a stretch, so that the bench's own work is not in the time. */
const BATCH = 256;
/** Of those that come: they were there before, and their state is where the VM ran that has just gone. */
const RETURNING = 0.5;
/** More often than hosts that report every 10 s would at a million decisions a second. */
const DECISIONS_A_REPORT = 64;

export class Churn {
  readonly #scheduler: Scheduler;
  readonly #fleet: Fleet;
  readonly #random: () => number;
  readonly #zones: number;
  readonly #hosts: number;
  readonly #running: number[];
  #nextReport = 0;
  decisions = 0;
  refused = 0;

  constructor(
    deps: { scheduler: Scheduler; fleet: Fleet; random: () => number },
    size: { zones: number; hosts: number },
  ) {
    this.#scheduler = deps.scheduler;
    this.#fleet = deps.fleet;
    this.#random = deps.random;
    this.#zones = size.zones;
    this.#hosts = size.hosts;
    this.#running = this.#fleet.running();
  }

  get vms(): number {
    return this.#running.length;
  }

  /** How many decisions in a second, each with what goes with it: place, commit, and the release that made room. */
  decisionsPerSecond(count: number): Rate {
    let elapsedNs = 0n;
    let cpuUs = 0;
    for (let done = 0; done < count; done += BATCH) {
      const turns = this.#draw();
      const decisions: Decision[] = [];
      const before = process.cpuUsage();
      const startNs = process.hrtime.bigint();
      for (let index = 0; index < turns.length; index += 1) {
        const turn = turns[index] as Turn;
        this.#scheduler.release(turn.from, turn.gives);
        decisions.push(this.#decide(turn.request));
      }
      elapsedNs += process.hrtime.bigint() - startNs;
      const { user, system } = process.cpuUsage(before);
      cpuUs += user + system;
      this.#settle(turns, decisions);
    }
    const decided = Math.ceil(count / BATCH) * BATCH;
    return { perCpuSecond: (decided * 1e6) / cpuUs, perSecond: (decided * 1e9) / Number(elapsedNs) };
  }

  /** @returns how long each decision took, one by one: place and commit. */
  decisionsUs(count: number): Float64Array {
    const times = new Float64Array(Math.ceil(count / BATCH) * BATCH);
    for (let done = 0; done < count; done += BATCH) {
      const turns = this.#draw();
      const decisions: Decision[] = [];
      for (let index = 0; index < turns.length; index += 1) {
        const turn = turns[index] as Turn;
        this.#scheduler.release(turn.from, turn.gives);
        const startNs = process.hrtime.bigint();
        decisions.push(this.#decide(turn.request));
        times[done + index] = Number(process.hrtime.bigint() - startNs) / 1000;
      }
      this.#settle(turns, decisions);
    }
    return times;
  }

  #decide(request: PlaceRequest): Decision {
    const decision = this.#scheduler.place(request);
    const { host } = decision;
    if (host !== undefined) {
      this.#scheduler.commit(host, request.claim);
      this.#scheduler.started(host, request.claim);
    }
    return decision;
  }

  /** VMs that go are off the fleet at once; the scheduler hears of it in the measured part. */
  #draw(): Turn[] {
    const random = this.#random;
    return Array.from({ length: BATCH }, () => {
      const index = Math.floor(random() * this.#running.length);
      const vm = this.#running[index] as number;
      this.#running[index] = this.#running.at(-1) as number;
      this.#running.pop();
      const from = this.#fleet.hostOf(vm);
      const gives = this.#fleet.claim(vm);
      this.#fleet.take(vm);
      this.#fleet.destroy(vm);
      const size = sizeOf(random());
      const zone = Math.floor(random() * this.#zones);
      const stateHost = random() < RETURNING ? from : undefined;
      return { from, gives, size, request: { claim: claimOfSize(size), zone, stateHost } };
    });
  }

  #settle(turns: readonly Turn[], decisions: readonly Decision[]): void {
    this.decisions += decisions.length;
    for (const [index, { host }] of decisions.entries()) {
      if (host === undefined) {
        this.refused += 1;
        continue;
      }
      const vm = this.#fleet.create((turns[index] as Turn).size);
      this.#fleet.put(vm, host);
      this.#running.push(vm);
    }
    for (let report = 0; report < BATCH / DECISIONS_A_REPORT; report += 1) {
      const host = this.#nextReport as HostNumber;
      this.#scheduler.setLoad(host, this.#fleet.usedOn(host), this.#fleet.changesOn(host));
      this.#nextReport = (this.#nextReport + 1) % this.#hosts;
    }
  }
}
