import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Claim } from './claim.ts';
import type { Host, HostNumber } from './host-table.ts';
import { Placement } from './placement.ts';

const MAX_HOSTS = 30;

/** What the placement should know, kept simply. */
interface ModelHost extends Host {
  state: 'open' | 'draining' | 'gone';
  number: HostNumber;
  vms: Claim[];
}

const amount = fc.integer({ min: 0, max: 40 });
const hosts: fc.Arbitrary<Host> = fc.record({
  milliCpus: fc.integer({ min: 1, max: 40 }),
  memoryBytes: amount,
  diskBytes: amount,
  zone: fc.nat(2),
  labels: fc.nat(3),
});
const claims: fc.Arbitrary<Claim> = fc.record({
  milliCpus: fc.nat(12),
  memoryBytes: fc.nat(12),
  diskBytes: fc.nat(12),
  expectedMilliCpus: fc.nat(9),
  labels: fc.oneof(fc.constant(0), fc.nat(3)),
});
const steps = fc.oneof(
  fc.record({ kind: fc.constant('join' as const), host: hosts }),
  fc.record({ kind: fc.constantFrom('drain', 'open', 'lose'), which: fc.nat() }),
  fc.record({ kind: fc.constant('report' as const), which: fc.nat(), used: fc.nat(60), age: fc.nat(20) }),
  fc.record({ kind: fc.constant('end' as const), which: fc.nat() }),
  ...Array.from({ length: 4 }, () =>
    fc.record({
      kind: fc.constant('place' as const),
      claim: claims,
      zone: fc.option(fc.nat(3)),
      near: fc.nat(),
    }),
  ),
);
type Step = typeof steps extends fc.Arbitrary<infer Kind> ? Kind : never;

const free = (host: ModelHost, of: 'milliCpus' | 'memoryBytes' | 'diskBytes') =>
  host[of] - host.vms.reduce((sum, claim) => sum + claim[of], 0);
const fits = (host: ModelHost, claim: Claim) =>
  host.state === 'open' &&
  (host.labels & claim.labels) === claim.labels &&
  free(host, 'milliCpus') >= claim.milliCpus &&
  free(host, 'memoryBytes') >= claim.memoryBytes &&
  free(host, 'diskBytes') >= claim.diskBytes;

class Model {
  readonly placement: Placement;
  hosts: ModelHost[] = [];

  constructor(seed: number, typicalClaim: Claim) {
    const random = { bytes: (count: number) => new Uint8Array(count).fill(seed) };
    this.placement = new Placement({ random }, { maxHosts: MAX_HOSTS, typicalClaim });
  }

  step(step: Step): void {
    if (step.kind === 'join') {
      if (this.hosts.length === MAX_HOSTS) return;
      this.hosts.push({ ...step.host, state: 'open', vms: [], number: this.placement.addHost(step.host) });
    } else if (step.kind === 'place') this.place(step.claim, step.zone ?? undefined, step.near);
    else {
      const host = this.hosts[step.which % Math.max(1, this.hosts.length)];
      if (host) this.change(host, step);
    }
  }

  place(claim: Claim, zone: number | undefined, near: number): void {
    const nearHost = this.hosts[near % Math.max(1, this.hosts.length)]?.number;
    const request =
      near % 2 === 0
        ? { stateHost: nearHost }
        : { templateHosts: nearHost === undefined ? undefined : [nearHost] };
    const { host: number } = this.placement.place({ claim, zone, ...request });
    const candidates = this.hosts.filter((host) => fits(host, claim));
    if (number === undefined) {
      expect(candidates).toEqual([]);
      expect(this.placement.shortOf(claim)).toBeDefined();
      return;
    }
    expect(this.placement.shortOf(claim)).toBeUndefined();
    const host = candidates.find((candidate) => candidate.number === number);
    if (!host) throw new Error(`host ${number} should not have been chosen`);
    this.placement.commit(number, claim);
    if (near % 3 > 0) this.placement.started(number, claim);
    host.vms.push(claim);
  }

  change(host: ModelHost, step: Exclude<Step, { kind: 'join' | 'place' }>): void {
    const { placement } = this;
    if (step.kind === 'report') {
      if (host.state !== 'gone') placement.setLoad(host.number, step.used, step.age);
    } else if (step.kind === 'end') {
      const claim = host.vms.pop();
      if (!claim) return;
      placement.release(host.number, claim);
    } else if (step.kind === 'lose') {
      if (host.state !== 'gone') placement.removeHost(host.number);
      host.state = 'gone';
    } else if (host.state !== 'gone') {
      if (step.kind === 'drain') placement.drain(host.number);
      else placement.open(host.number);
      host.state = step.kind === 'drain' ? 'draining' : 'open';
    }
    this.hosts = this.hosts.filter(({ state, vms }) => state !== 'gone' || vms.length > 0);
  }

  checkMean(): void {
    const open = this.hosts.filter(({ state }) => state === 'open');
    const cpus = open.reduce((sum, { milliCpus }) => sum + milliCpus, 0);
    const used = open.reduce((sum, { number, milliCpus }) => sum + this.placement.use(number) * milliCpus, 0);
    expect(this.placement.meanUse).toBeCloseTo(cpus === 0 ? 0 : used / cpus, 6);
  }
}

test(
  'a host has room, is open and has the labels whenever it is chosen, one is found whenever there is one, and what was ' +
    'released can be had again to the last octet [desktop D5] [desktop D15]',
  () => {
    fc.assert(
      fc.property(
        fc.nat(255),
        claims,
        fc.array(steps, { maxLength: 120, size: 'max' }),
        (seed, typicalClaim, list) => {
          const model = new Model(seed, typicalClaim);
          for (const step of list) {
            model.step(step);
            model.checkMean();
          }
          for (const host of model.hosts) {
            for (const claim of host.vms) model.placement.release(host.number, claim);
            host.vms = [];
          }
          for (const host of model.hosts.filter(({ state }) => state === 'open')) {
            const { milliCpus, memoryBytes, diskBytes, labels } = host;
            const all = { milliCpus, memoryBytes, diskBytes, labels, expectedMilliCpus: 0 };
            model.place(all, undefined, 1);
          }
        },
      ),
      { numRuns: 500 },
    );
  },
);
