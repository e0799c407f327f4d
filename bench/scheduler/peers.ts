/**
 * What the scheduler is measured beside: the two ways that first come to mind, over the same table of hosts.
 * @module
 */
import type { Claim } from '../../src/pool/placement/claim.ts';
import { HOST_STATE, type Host, type HostNumber, HostTable } from '../../src/pool/placement/host-table.ts';
import type { Decision, Placement, PlaceRequest } from '../../src/pool/placement/placement.ts';

export type Scheduler = Pick<
  Placement,
  'addHost' | 'removeHost' | 'place' | 'commit' | 'started' | 'stays' | 'release' | 'setLoad'
>;

abstract class TableScheduler implements Scheduler {
  protected readonly hosts: HostTable;

  constructor(maxHosts: number) {
    this.hosts = new HostTable(maxHosts);
  }

  abstract place(request: PlaceRequest): Decision;

  addHost(host: Host): HostNumber {
    return this.hosts.add(host);
  }

  removeHost(host: HostNumber): void {
    this.hosts.state[host] = HOST_STATE.gone;
    this.hosts.recycle(host);
  }

  commit(host: HostNumber, claim: Claim): void {
    this.hosts.take(host, claim, 1);
    this.hosts.expect(host, claim.expectedMilliCpus);
  }

  started(host: HostNumber, claim: Claim): void {
    this.hosts.expect(host, -claim.expectedMilliCpus);
    this.hosts.change(host, claim.expectedMilliCpus);
  }

  /** Nothing ever leaves: peers move no VM. */
  stays(): void {}

  release(host: HostNumber, claim: Claim): void {
    this.hosts.take(host, claim, -1);
    this.hosts.change(host, -claim.expectedMilliCpus);
    this.hosts.recycle(host);
  }

  setLoad(host: HostNumber, usedMilliCpus: number, changes: number): void {
    this.hosts.measure(host, usedMilliCpus, changes);
  }
}

/** Looks at every host and takes the one that has the least memory left afterwards. */
export class BestFit extends TableScheduler {
  place({ claim }: PlaceRequest): Decision {
    const { hosts } = this;
    let best = -1;
    for (let host = 0; host < hosts.count; host += 1) {
      if (!hosts.fits(host, claim)) continue;
      if (best < 0 || (hosts.freeMemoryBytes[host] ?? 0) < (hosts.freeMemoryBytes[best] ?? 0)) best = host;
    }
    return best < 0 ? NO_PLACE : { host: best as HostNumber, nearTo: 'nothing' };
  }
}

/** Draws hosts until two have room, and takes the one that uses less of its CPUs. */
export class TwoChoices extends TableScheduler {
  readonly #random: () => number;

  constructor(maxHosts: number, random: () => number) {
    super(maxHosts);
    this.#random = random;
  }

  place({ claim }: PlaceRequest): Decision {
    const { hosts } = this;
    let first = -1;
    for (let draw = 0; draw < hosts.count; draw += 1) {
      const host = Math.floor(this.#random() * hosts.count);
      if (!hosts.fits(host, claim)) continue;
      if (first >= 0) {
        return { host: (hosts.use(host) < hosts.use(first) ? host : first) as HostNumber, nearTo: 'nothing' };
      }
      first = host;
    }
    return first < 0 ? NO_PLACE : { host: first as HostNumber, nearTo: 'nothing' };
  }
}

const NO_PLACE: Decision = { host: undefined, nearTo: 'nothing' };
