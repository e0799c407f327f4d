import type { Brand } from '../../base/index.ts';
import type { Claim } from './claim.ts';

/** A host's place in the table. Another host may get it once this one is gone and all that it held was released. */
export type HostNumber = Brand<number, 'HostNumber'>;

/** What a host offers. Whole numbers. */
export interface Host {
  /** More than 0. */
  readonly milliCpus: number;
  /** For VMs: what the host itself needs is not in it. */
  readonly memoryBytes: number;
  readonly diskBytes: number;
  /** Hosts that are near each other: a site, a district. */
  readonly zone: number;
  /** Bits, as in a claim. */
  readonly labels: number;
}

/** `open` hosts take VMs; `draining` ones keep those that they have; `gone` ones are lost or taken away. */
export const HOST_STATE = { none: 0, open: 1, draining: 2, gone: 3 } as const;

/** What `fits` looks at, in this order. */
export const LIMITS = ['hosts', 'labels', 'cpus', 'memory', 'disk'] as const;

/** Of each host, the newest: as many starts and ends may lie between a measurement and its arrival. A power of two. */
const CHANGES_KEPT = 64;
const CHANGES_MASK = CHANGES_KEPT - 1;

/**
 * All hosts as a structure of arrays, by host number: 20,000 of them fit a processor's own cache, and looking at one more
 * costs nanoseconds.
 */
export class HostTable {
  readonly state: Uint8Array;
  readonly zone: Int32Array;
  readonly labels: Int32Array;
  readonly milliCpus: Float64Array;
  readonly memoryBytes: Float64Array;
  readonly freeMilliCpus: Float64Array;
  readonly freeMemoryBytes: Float64Array;
  readonly freeDiskBytes: Float64Array;
  readonly vms: Int32Array;
  /** VMs that are on their way to another host. */
  readonly leaving: Int32Array;
  /** CPU use in thousandths of a CPU: as measured, with what came and went since, and what is to come and to go. */
  readonly load: Float64Array;
  /** How many VMs started and ended on the host, all in all, and what they were expected to use after each of these. */
  readonly changes: Int32Array;
  readonly #sums: Int32Array;
  /** As measured, with what came and went since. */
  readonly #known: Float64Array;
  /** What is to come and to go: no measurement can show it yet. */
  readonly #pending: Float64Array;
  readonly #freeNumbers: HostNumber[] = [];
  readonly #maxHosts: number;
  /** One more than the largest number that was ever given. */
  count = 0;

  constructor(maxHosts: number) {
    this.#maxHosts = maxHosts;
    this.state = new Uint8Array(maxHosts);
    this.zone = new Int32Array(maxHosts);
    this.labels = new Int32Array(maxHosts);
    this.vms = new Int32Array(maxHosts);
    const amounts = () => new Float64Array(maxHosts);
    this.milliCpus = amounts();
    this.memoryBytes = amounts();
    this.freeMilliCpus = amounts();
    this.freeMemoryBytes = amounts();
    this.freeDiskBytes = amounts();
    this.load = amounts();
    this.#known = amounts();
    this.#pending = amounts();
    this.leaving = new Int32Array(maxHosts);
    this.changes = new Int32Array(maxHosts);
    this.#sums = new Int32Array(maxHosts * CHANGES_KEPT);
  }

  /** @throws RangeError when the table is full. */
  add(host: Host): HostNumber {
    const number = this.#freeNumbers.pop() ?? (this.count as HostNumber);
    if (number === this.#maxHosts) throw new RangeError(`this table holds ${this.#maxHosts} hosts`);
    this.count = Math.max(this.count, number + 1);
    this.state[number] = HOST_STATE.open;
    this.zone[number] = host.zone;
    this.labels[number] = host.labels;
    this.milliCpus[number] = host.milliCpus;
    this.memoryBytes[number] = host.memoryBytes;
    this.freeMilliCpus[number] = host.milliCpus;
    this.freeMemoryBytes[number] = host.memoryBytes;
    this.freeDiskBytes[number] = host.diskBytes;
    this.load[number] = 0;
    this.#known[number] = 0;
    this.#pending[number] = 0;
    this.leaving[number] = 0;
    this.changes[number] = 0;
    this.#sums.fill(0, number * CHANGES_KEPT, (number + 1) * CHANGES_KEPT);
    return number;
  }

  /** @throws RangeError when there is no such host. */
  check(host: HostNumber): void {
    if (!this.state[host]) throw new RangeError(`there is no host ${host}`);
  }

  /** Takes what is claimed (`sign` 1) or gives it back (-1). */
  take(host: HostNumber, claim: Claim, sign: 1 | -1): void {
    this.freeMilliCpus[host] = (this.freeMilliCpus[host] as number) - sign * claim.milliCpus;
    this.freeMemoryBytes[host] = (this.freeMemoryBytes[host] as number) - sign * claim.memoryBytes;
    this.freeDiskBytes[host] = (this.freeDiskBytes[host] as number) - sign * claim.diskBytes;
    this.vms[host] = (this.vms[host] as number) + sign;
  }

  /** What is to come or to go, in thousandths of a CPU. */
  expect(host: HostNumber, milliCpus: number): void {
    this.#pending[host] = (this.#pending[host] as number) + milliCpus;
    this.#sumUp(host);
  }

  /** What came or went, in thousandths of a CPU: a change that the host counts too. */
  change(host: HostNumber, milliCpus: number): void {
    const before = this.changes[host] as number;
    const at = host * CHANGES_KEPT;
    const sum = this.#sums[at + (before & CHANGES_MASK)] as number;
    this.changes[host] = before + 1;
    this.#sums[at + ((before + 1) & CHANGES_MASK)] = sum + milliCpus;
    this.#known[host] = (this.#known[host] as number) + milliCpus;
    this.#sumUp(host);
  }

  /** A measurement is some seconds old when it comes: what came or went after it is added. */
  measure(host: HostNumber, usedMilliCpus: number, changesSeen: number): void {
    const now = this.changes[host] as number;
    const seen = Math.min(now, Math.max(changesSeen, now - CHANGES_MASK));
    const at = host * CHANGES_KEPT;
    const sum = this.#sums[at + (now & CHANGES_MASK)] as number;
    const sumSeen = this.#sums[at + (seen & CHANGES_MASK)] as number;
    this.#known[host] = Math.round(usedMilliCpus) + sum - sumSeen;
    this.#sumUp(host);
  }

  #sumUp(host: HostNumber): void {
    this.load[host] = Math.max(0, (this.#known[host] as number) + (this.#pending[host] as number));
  }

  /** A host that is gone and holds nothing leaves its number to the next one. */
  recycle(host: HostNumber): void {
    if (this.state[host] !== HOST_STATE.gone || this.vms[host] !== 0) return;
    this.state[host] = HOST_STATE.none;
    this.#freeNumbers.push(host);
  }

  fits(host: number, claim: Claim): boolean {
    return (
      this.state[host] === HOST_STATE.open &&
      ((this.labels[host] ?? 0) & claim.labels) === claim.labels &&
      (this.freeMemoryBytes[host] ?? 0) >= claim.memoryBytes &&
      (this.freeMilliCpus[host] ?? 0) >= claim.milliCpus &&
      (this.freeDiskBytes[host] ?? 0) >= claim.diskBytes
    );
  }

  /** How many of `LIMITS` the host meets before the first that it does not. */
  limitsMet(host: number, claim: Claim): number {
    if (this.state[host] !== HOST_STATE.open) return 0;
    if (((this.labels[host] ?? 0) & claim.labels) !== claim.labels) return 1;
    if ((this.freeMilliCpus[host] ?? 0) < claim.milliCpus) return 2;
    if ((this.freeMemoryBytes[host] ?? 0) < claim.memoryBytes) return 3;
    return (this.freeDiskBytes[host] ?? 0) < claim.diskBytes ? 4 : LIMITS.length;
  }

  /** The part of the host's CPUs that is used once `moreMilliCpus` are added; above 1 when more is wanted than there is. */
  use(host: number, moreMilliCpus = 0): number {
    return ((this.load[host] ?? 0) + moreMilliCpus) / (this.milliCpus[host] ?? 1);
  }
}
