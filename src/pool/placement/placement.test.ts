import { describe, expect, test } from 'vitest';
import type { Claim } from './claim.ts';
import type { Host, HostNumber } from './host-table.ts';
import { Placement } from './placement.ts';
import { inReturnOrder } from './return-order.ts';

const GIB = 2 ** 30;
const random = { bytes: (count: number) => new Uint8Array(count).fill(7) };
const host = (change: Partial<Host> = {}): Host => ({
  milliCpus: 8000,
  memoryBytes: 16 * GIB,
  diskBytes: 100 * GIB,
  zone: 0,
  labels: 0,
  ...change,
});
const claim = (change: Partial<Claim> = {}): Claim => ({
  milliCpus: 500,
  memoryBytes: 2 * GIB,
  diskBytes: 10 * GIB,
  expectedMilliCpus: 200,
  labels: 0,
  ...change,
});
const whole = claim({ milliCpus: 8000, memoryBytes: 16 * GIB, diskBytes: 100 * GIB });

function placementOf(...hosts: Partial<Host>[]): { placement: Placement; numbers: HostNumber[] } {
  const placement = new Placement({ random }, { maxHosts: 8, typicalClaim: claim() });
  return { placement, numbers: hosts.map((one) => placement.addHost(host(one))) };
}

function run(placement: Placement, number: HostNumber, wanted = claim()): void {
  placement.commit(number, wanted);
  placement.started(number, wanted);
}

describe('a VM', () => {
  test('goes where the CPUs are used least, as measured and as expected of what came since [desktop D5]', () => {
    const { placement, numbers } = placementOf({}, {}, {});
    const [a = 0, b = 0, c = 0] = numbers as number[];
    placement.setLoad(a as HostNumber, 4000, 0);
    placement.setLoad(b as HostNumber, 1000, 0);
    placement.setLoad(c as HostNumber, 2000, 0);
    expect(placement.place({ claim: claim() }).host).toBe(b);
    placement.commit(b as HostNumber, claim({ expectedMilliCpus: 2000 }));
    expect(placement.place({ claim: claim() }).host).toBe(c);
  });

  test('goes to a host that has its labels, however much others have free [desktop D5]', () => {
    const { placement, numbers } = placementOf({}, { labels: 0b11 }, {});
    placement.setLoad(numbers[1] as HostNumber, 8000, 0);
    expect(placement.place({ claim: claim({ labels: 0b10 }) }).host).toBe(numbers[1]);
  });

  test('comes back to the host with its state while that has room and is not hotter than others [desktop D6]', () => {
    const { placement, numbers } = placementOf({}, {}, {});
    const [, state = numbers[0]] = numbers;
    const request = { claim: claim({ expectedMilliCpus: 0 }), stateHost: state };
    expect(placement.place(request)).toEqual({ host: state, nearTo: 'state' });
    placement.setLoad(state as HostNumber, 4000, 0);
    expect(placement.place(request).host).not.toBe(state);
    placement.setLoad(state as HostNumber, 0, 0);
    run(placement, state as HostNumber, { ...whole, expectedMilliCpus: 0 });
    expect(placement.place(request).host).not.toBe(state);
    placement.release(state as HostNumber, { ...whole, expectedMilliCpus: 0 });
    expect(placement.place(request).host).toBe(state);
  });

  test('rather goes where its template is, and else stays in its zone, unless these are hot [desktop D5]', () => {
    const { placement, numbers } = placementOf({ zone: 0 }, { zone: 1 }, { zone: 1 });
    const [, , template] = numbers as [HostNumber, HostNumber, HostNumber];
    const idle = claim({ expectedMilliCpus: 0 });
    expect(placement.place({ claim: idle, zone: 0, templateHosts: [template] })).toEqual({
      host: template,
      nearTo: 'template',
    });
    expect(placement.place({ claim: idle, zone: 0 })).toEqual({ host: numbers[0], nearTo: 'zone' });
    placement.setLoad(template, 6000, 0);
    placement.setLoad(numbers[0] as HostNumber, 6000, 0);
    const elsewhere = Array.from({ length: 20 }, () =>
      placement.place({ claim: idle, zone: 0, templateHosts: [template] }),
    );
    expect(elsewhere).toContainEqual({ host: numbers[1], nearTo: 'nothing' });
  });

  test('finds the one host with room among many with nearly as much', () => {
    const placement = new Placement({ random }, { maxHosts: 100, typicalClaim: claim() });
    const only = placement.addHost(host({ memoryBytes: 15 * GIB }));
    for (let more = 1; more < 100; more += 1) placement.addHost(host({ memoryBytes: 15 * GIB - 1 }));
    expect(placement.place({ claim: claim({ memoryBytes: 15 * GIB }), zone: 0 }).host).toBe(only);
  });

  test.for([
    ['hosts', {}, false],
    ['labels', { labels: 0b1000 }, true],
    ['cpus', { milliCpus: 9000 }, true],
    ['memory', { memoryBytes: 17 * GIB }, true],
    ['disk', { diskBytes: 101 * GIB }, true],
  ] satisfies [string, Partial<Claim>, boolean][])(
    'that finds no place is told what is short: %s',
    ([limit, change, hasHosts]) => {
      const { placement } = hasHosts ? placementOf({ labels: 0b1 }) : placementOf();
      const wanted = claim(change);
      expect(placement.place({ claim: wanted }).host).toBeUndefined();
      expect(placement.shortOf(wanted)).toBe(limit);
    },
  );
});

describe('a host', () => {
  test('that is drained gets no VM, keeps what it has, and may be opened again [desktop D15]', () => {
    const { placement, numbers } = placementOf({});
    const [only] = numbers as [HostNumber];
    run(placement, only);
    placement.drain(only);
    expect(placement.place({ claim: claim() }).host).toBeUndefined();
    expect(placement.shortOf(claim())).toBe('hosts');
    placement.open(only);
    expect(placement.place({ claim: whole }).host).toBeUndefined();
    placement.release(only, claim());
    expect(placement.place({ claim: whole }).host).toBe(only);
  });

  test('that is lost gets no VM; its number is given again once nothing is left on it', () => {
    const { placement, numbers } = placementOf({}, {});
    const [lost] = numbers as [HostNumber];
    run(placement, lost);
    run(placement, lost);
    placement.removeHost(lost);
    expect(placement.place({ claim: claim(), stateHost: lost }).host).toBe(numbers[1]);
    placement.release(lost, claim());
    expect(placement.addHost(host())).not.toBe(lost);
    placement.release(lost, claim());
    expect(placement.addHost(host())).toBe(lost);
    expect(placement.use(lost)).toBe(0);
  });

  test('that there is not, and one too many, is an error', () => {
    const { placement } = placementOf({}, {}, {}, {}, {}, {}, {}, {});
    expect(() => placement.addHost(host())).toThrow(/holds 8 hosts/);
    expect(() => placementOf({}).placement.removeHost(1 as HostNumber)).toThrow(/no host 1/);
    const wide = new Placement({ random }, { maxHosts: 4097, typicalClaim: claim() });
    for (let zone = 0; zone < 4096; zone += 1) wide.addHost(host({ zone }));
    expect(() => wide.addHost(host({ zone: 4096 }))).toThrow(/more than 4096 combinations/);
    expect(wide.addHost(host())).toBe(4096);
  });

  test('is reckoned to use what came after it was measured, and nothing twice', () => {
    const { placement, numbers } = placementOf({});
    const [only] = numbers as [HostNumber];
    placement.commit(only, claim());
    expect(placement.use(only)).toBe(0.025);
    placement.setLoad(only, 800, 0);
    expect(placement.use(only)).toBe(0.125);
    placement.started(only, claim());
    expect(placement.use(only)).toBe(0.125);
    placement.setLoad(only, 800, 0);
    expect(placement.use(only)).toBe(0.125);
    placement.setLoad(only, 1000, 1);
    expect(placement.use(only)).toBe(0.125);
    placement.release(only, claim());
    expect(placement.use(only)).toBe(0.1);
    placement.setLoad(only, 1000, 1);
    expect(placement.use(only)).toBe(0.1);
  });
});

test('VMs of a lost host come back by their priority, and those of one priority as they are named', () => {
  const vms = [1, 3, 2, 3].map((priority, name) => ({ name, priority }));
  expect(inReturnOrder(vms).map(({ name }) => name)).toEqual([1, 3, 2, 0]);
});
