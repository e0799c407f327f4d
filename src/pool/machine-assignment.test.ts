import { describe, expect, test } from 'vitest';
import type { Machine } from './hypervisor/hypervisor.ts';
import { assignMachines } from './machine-assignment.ts';
import type { VmRecord } from './vm-table.ts';

const version = (number: number) => ({ version: number }) as VmRecord['versions']['current'];
const photos: VmRecord = {
  name: 'photos',
  owner: 'photos',
  createdAtMs: 0,
  versions: { current: version(2), next: version(3), previous: version(1), latest: 3 },
};
const machine = (id: string) => ({ id }) as Machine;
const place = (machineId: string, number: number, name = 'photos') => ({ name, version: number, machineId });

describe('a machine that was left running', () => {
  test('goes on for the version that serves and for the one that is to take its place', () => {
    const [two, three] = [machine('two'), machine('three')];
    const places = [place('two', 2), place('three', 3)];
    expect(assignMachines([photos], places, [three, two], () => false)).toEqual({
      kept: [
        { name: 'photos', version: 3, machine: three },
        { name: 'photos', version: 2, machine: two },
      ],
      unwanted: [],
    });
  });

  test('is unwanted when its version was replaced, its VM stopped, or another machine stands in its place', () => {
    const places = [place('old', 1), place('gone', 1, 'films'), place('new', 2)];
    const machines = ['old', 'gone', 'before-a-restart'].map(machine);
    expect(assignMachines([photos], places, machines, () => false)).toEqual({ kept: [], unwanted: machines });
  });

  test('is unwanted when the next version is to run on its disk instead of it', () => {
    const [two, three] = [machine('two'), machine('three')];
    const places = [place('two', 2), place('three', 3)];
    expect(assignMachines([photos], places, [two, three], () => true)).toEqual({
      kept: [{ name: 'photos', version: 3, machine: three }],
      unwanted: [two],
    });
  });
});
