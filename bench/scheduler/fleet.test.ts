import { expect, test } from 'vitest';
import type { HostNumber } from '../../src/pool/placement/host-table.ts';
import { seededNumbers } from '../support/traffic.ts';
import { claimOfSize, hostOf, SIZES, sizeOf } from './contracts.ts';
import { Fleet } from './fleet.ts';
import { driftOver, VmLoads } from './vm-loads.ts';

const HOST = 0 as HostNumber;

function fleetOfOne(): Fleet {
  const fleet = new Fleet(seededNumbers(1), { maxHosts: 1, maxVms: 1000, zones: 1 });
  fleet.addHost(HOST, fleet.nextHost());
  return fleet;
}

test('sizes are drawn with their shares', () => {
  const drawn = [0, 0, 0];
  for (let hundredth = 0; hundredth < 100; hundredth += 1) {
    const size = sizeOf(hundredth / 100);
    drawn[size] = (drawn[size] ?? 0) + 1;
  }
  expect(drawn).toEqual(SIZES.map(({ percent }) => percent));
});

test('a host uses what its VMs use, and holds nothing when they are gone', () => {
  const fleet = fleetOfOne();
  const vms = [0, 1, 2, 0].map((size) => fleet.create(size));
  for (const vm of vms) fleet.put(vm, HOST);
  fleet.drift(HOST, 10);
  expect(fleet.usedOn(HOST)).toBeCloseTo(vms.reduce((sum, vm) => sum + fleet.used(vm), 0));
  for (const vm of vms) fleet.take(vm);
  expect([fleet.fullness, fleet.vmsOn(HOST), fleet.changesOn(HOST)]).toEqual([0, [], 8]);
  expect(fleet.usedOn(HOST)).toBeCloseTo(0);
});

test('a host that is given more than it has is an error of the scheduler', () => {
  const fleet = fleetOfOne();
  const { memoryBytes } = hostOf(0, 1);
  const count = Math.floor(memoryBytes / claimOfSize(2).memoryBytes);
  for (let vm = 0; vm < count; vm += 1) fleet.put(fleet.create(2), HOST);
  expect(() => fleet.put(fleet.create(2), HOST)).toThrow(/host 0 was given more/);
});

test('VMs use on average about what is expected, at the beginning and after they have drifted', () => {
  const count = 20_000;
  const loads = new VmLoads(seededNumbers(2), count);
  const mean = () => {
    let sum = 0;
    for (let vm = 0; vm < count; vm += 1) sum += loads.milliCpus(vm, 0, 1);
    return sum / count;
  };
  for (let vm = 0; vm < count; vm += 1) loads.create(vm);
  const before = mean();
  for (let vm = 0; vm < count; vm += 1) loads.drift(vm, driftOver(1800));
  for (const average of [before, mean()]) {
    expect(average).toBeGreaterThan(0.93 * claimOfSize(0).expectedMilliCpus);
    expect(average).toBeLessThan(1.03 * claimOfSize(0).expectedMilliCpus);
  }
});
