import type { HostNumber } from '../../src/pool/placement/host-table.ts';
import { claimOfSize, sizeOf } from './contracts.ts';
import { Fleet } from './fleet.ts';
import type { Scheduler } from './peers.ts';

export interface FleetSize {
  readonly hosts: number;
  readonly zones: number;
  readonly fullness: number;
}

const VMS_A_HOST = 64;
/** For hosts that join before all that was on lost ones is placed. */
const SPARE_HOSTS = 256;

export const tableSize = ({ hosts }: FleetSize): number => hosts + SPARE_HOSTS;

/** As full as wanted, each VM on a host that was drawn at random; the scheduler knows it all. */
export function filledFleet(scheduler: Scheduler, random: () => number, size: FleetSize): Fleet {
  const { hosts, zones, fullness } = size;
  const fleet = new Fleet(random, { maxHosts: tableSize(size), maxVms: hosts * VMS_A_HOST, zones });
  for (let index = 0; index < hosts; index += 1) {
    const host = fleet.nextHost();
    fleet.addHost(scheduler.addHost(host), host);
  }
  while (fleet.fullness < fullness) {
    const kind = sizeOf(random());
    const host = Math.floor(random() * hosts) as HostNumber;
    const claim = claimOfSize(kind);
    if (!fleet.hasRoom(host, claim.memoryBytes)) continue;
    fleet.put(fleet.create(kind), host);
    scheduler.commit(host, claim);
    scheduler.started(host, claim);
  }
  for (let number = 0; number < hosts; number += 1) {
    const host = number as HostNumber;
    scheduler.setLoad(host, fleet.usedOn(host), fleet.changesOn(host));
  }
  return fleet;
}
