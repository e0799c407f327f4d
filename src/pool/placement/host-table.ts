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

/** Amounts of a host: a cache line of a processor, so that a decision waits for memory once a host and not once a number. */
export const AMOUNT = {
  freeMilliCpus: 0,
  freeMemoryBytes: 1,
  freeDiskBytes: 2,
  /** CPU use in thousandths of a CPU: what is known and what is pending. */
  load: 3,
  milliCpus: 4,
  /** As measured, with what came and went since. */
  known: 5,
  /** What is to come and to go: no measurement can show it yet. */
  pending: 6,
  memoryBytes: 7,
} as const;
const AMOUNTS = 8;

/** Counts of a host: another line. */
export const COUNT = {
  state: 0,
  labels: 1,
  zone: 2,
  vms: 3,
  /** VMs that are on their way to another host. */
  leaving: 4,
  /** How many VMs started and ended on the host, all in all. */
  changes: 5,
  /** The sum of what these were expected to use, after each of the newest: as many may lie between a measurement and its arrival. */
  sums: 8,
} as const;
const COUNTS = 16;
const SUMS_MASK = 7;

/**
 * All hosts in two typed arrays, by host number: 20,000 of them fit a processor's own cache, and looking at one more costs
 * nanoseconds.
 */
export class HostTable {
  readonly #amounts: Float64Array;
  readonly #counts: Int32Array;
  readonly #freeNumbers: HostNumber[] = [];
  readonly #maxHosts: number;
  /** One more than the largest number that was ever given. */
  count = 0;

  constructor(maxHosts: number) {
    this.#maxHosts = maxHosts;
    this.#amounts = new Float64Array(maxHosts * AMOUNTS);
    this.#counts = new Int32Array(maxHosts * COUNTS);
  }

  amount(host: number, which: (typeof AMOUNT)[keyof typeof AMOUNT]): number {
    return this.#amounts[host * AMOUNTS + which] as number;
  }

  counted(host: number, which: (typeof COUNT)[keyof typeof COUNT]): number {
    return this.#counts[host * COUNTS + which] as number;
  }

  isOpen(host: number): boolean {
    return this.#counts[host * COUNTS] === HOST_STATE.open;
  }

  /** @throws RangeError when the table is full. */
  add(host: Host): HostNumber {
    const number = this.#freeNumbers.pop() ?? (this.count as HostNumber);
    if (number === this.#maxHosts) throw new RangeError(`this table holds ${this.#maxHosts} hosts`);
    this.count = Math.max(this.count, number + 1);
    const { milliCpus, memoryBytes, diskBytes, labels, zone } = host;
    this.#amounts.set([milliCpus, memoryBytes, diskBytes, 0, milliCpus, 0, 0, memoryBytes], number * AMOUNTS);
    this.#counts.fill(0, number * COUNTS, (number + 1) * COUNTS);
    this.#counts.set([HOST_STATE.open, labels, zone], number * COUNTS);
    return number;
  }

  /** @throws RangeError when there is no such host. */
  setState(host: HostNumber, state: number): void {
    if (!this.#counts[host * COUNTS]) throw new RangeError(`there is no host ${host}`);
    this.#counts[host * COUNTS] = state;
  }

  /** Takes what is claimed (`sign` 1) or gives it back (-1). */
  take(host: HostNumber, claim: Claim, sign: 1 | -1): void {
    this.#add(host, AMOUNT.freeMilliCpus, -sign * claim.milliCpus);
    this.#add(host, AMOUNT.freeMemoryBytes, -sign * claim.memoryBytes);
    this.#add(host, AMOUNT.freeDiskBytes, -sign * claim.diskBytes);
    this.#countOne(host, COUNT.vms, sign);
  }

  /** One VM more is on its way to another host, or one less. */
  leave(host: HostNumber, sign: 1 | -1): void {
    this.#countOne(host, COUNT.leaving, sign);
  }

  /** What is to come or to go, in thousandths of a CPU. */
  expect(host: HostNumber, milliCpus: number): void {
    this.#add(host, AMOUNT.pending, milliCpus);
    this.#sumUp(host);
  }

  /** What came or went, in thousandths of a CPU: a change that the host counts too. */
  change(host: HostNumber, milliCpus: number): void {
    const before = this.counted(host, COUNT.changes);
    const at = host * COUNTS + COUNT.sums;
    const sum = this.#counts[at + (before & SUMS_MASK)] as number;
    this.#counts[at + ((before + 1) & SUMS_MASK)] = sum + milliCpus;
    this.#countOne(host, COUNT.changes, 1);
    this.#add(host, AMOUNT.known, milliCpus);
    this.#sumUp(host);
  }

  /** A measurement is some seconds old when it comes: what came or went after it is added. */
  measure(host: HostNumber, usedMilliCpus: number, changesSeen: number): void {
    const now = this.counted(host, COUNT.changes);
    const seen = Math.min(now, Math.max(changesSeen, now - SUMS_MASK));
    const at = host * COUNTS + COUNT.sums;
    const sum = this.#counts[at + (now & SUMS_MASK)] as number;
    const sumSeen = this.#counts[at + (seen & SUMS_MASK)] as number;
    this.#amounts[host * AMOUNTS + AMOUNT.known] = Math.round(usedMilliCpus) + sum - sumSeen;
    this.#sumUp(host);
  }

  /** A host that is gone and holds nothing leaves its number to the next one. */
  recycle(host: HostNumber): void {
    if (this.#counts[host * COUNTS] !== HOST_STATE.gone || this.counted(host, COUNT.vms) !== 0) return;
    this.#counts[host * COUNTS] = HOST_STATE.none;
    this.#freeNumbers.push(host);
  }

  fits(host: number, claim: Claim): boolean {
    const hasLabels = (this.counted(host, COUNT.labels) & claim.labels) === claim.labels;
    return this.isOpen(host) && hasLabels && this.hasRoom(host, claim);
  }

  hasRoom(host: number, claim: Claim): boolean {
    const at = host * AMOUNTS;
    return (
      (this.#amounts[at + AMOUNT.freeMemoryBytes] as number) >= claim.memoryBytes &&
      (this.#amounts[at + AMOUNT.freeMilliCpus] as number) >= claim.milliCpus &&
      (this.#amounts[at + AMOUNT.freeDiskBytes] as number) >= claim.diskBytes
    );
  }

  /** How many of `LIMITS` the host meets before the first that it does not. */
  limitsMet(host: number, claim: Claim): number {
    if (!this.isOpen(host)) return 0;
    if ((this.counted(host, COUNT.labels) & claim.labels) !== claim.labels) return 1;
    if (this.amount(host, AMOUNT.freeMilliCpus) < claim.milliCpus) return 2;
    if (this.amount(host, AMOUNT.freeMemoryBytes) < claim.memoryBytes) return 3;
    return this.amount(host, AMOUNT.freeDiskBytes) < claim.diskBytes ? 4 : LIMITS.length;
  }

  /** The part of the host's CPUs that is used; above 1 when more is wanted than there is. */
  use(host: number, moreMilliCpus = 0): number {
    const at = host * AMOUNTS;
    return (
      ((this.#amounts[at + AMOUNT.load] as number) + moreMilliCpus) /
      (this.#amounts[at + AMOUNT.milliCpus] as number)
    );
  }

  #add(host: HostNumber, which: number, amount: number): void {
    const at = host * AMOUNTS + which;
    this.#amounts[at] = (this.#amounts[at] as number) + amount;
  }

  #countOne(host: HostNumber, which: number, sign: 1 | -1): void {
    const at = host * COUNTS + which;
    this.#counts[at] = (this.#counts[at] as number) + sign;
  }

  #sumUp(host: HostNumber): void {
    const at = host * AMOUNTS;
    const load =
      (this.#amounts[at + AMOUNT.known] as number) + (this.#amounts[at + AMOUNT.pending] as number);
    this.#amounts[at + AMOUNT.load] = Math.max(0, load);
  }
}
