import type { Claim } from '../../src/pool/placement/claim.ts';
import type { Host, HostNumber } from '../../src/pool/placement/host-table.ts';
import { claimOfSize, hostOf } from './contracts.ts';
import { driftOver, VmLoads } from './vm-loads.ts';

/** A host of 96 CPUs holds 153 of the smallest. */
const SLOTS_A_HOST = 192;
const NOWHERE = -1;

/**
 * Hosts and VMs as they are, not as a scheduler believes: which VM is where, and what each uses of its CPUs at this moment.
 * Both are numbers into arrays. Counts memory by itself, and throws when a host is given more than it has.
 */
export class Fleet {
  readonly #zones: number;
  readonly #loads: VmLoads;
  // By VM.
  readonly #hostOf: Int32Array;
  readonly #sizeOf: Uint8Array;
  readonly #slotOf: Uint8Array;
  readonly #usedByVm: Float32Array;
  readonly #vacant: number[] = [];
  // By host.
  readonly #milliCpus: Float64Array;
  readonly #usedOnHost: Float64Array;
  readonly #memoryBytes: Float64Array;
  readonly #takenBytes: Float64Array;
  readonly #vmsOn: Uint8Array;
  readonly #changes: Int32Array;
  readonly #slots: Int32Array;
  #hostsEver = 0;
  #hostBytes = 0;
  #vmBytes = 0;
  vms = 0;
  /** What all VMs do at this hour, beside their average. */
  activity = 1;

  constructor(random: () => number, options: { maxHosts: number; maxVms: number; zones: number }) {
    const { maxHosts, maxVms, zones } = options;
    this.#zones = zones;
    this.#loads = new VmLoads(random, maxVms);
    this.#hostOf = new Int32Array(maxVms).fill(NOWHERE);
    this.#sizeOf = new Uint8Array(maxVms);
    this.#slotOf = new Uint8Array(maxVms);
    this.#usedByVm = new Float32Array(maxVms);
    for (let vm = maxVms - 1; vm >= 0; vm -= 1) this.#vacant.push(vm);
    this.#milliCpus = new Float64Array(maxHosts);
    this.#usedOnHost = new Float64Array(maxHosts);
    this.#memoryBytes = new Float64Array(maxHosts);
    this.#takenBytes = new Float64Array(maxHosts);
    this.#vmsOn = new Uint8Array(maxHosts);
    this.#changes = new Int32Array(maxHosts);
    this.#slots = new Int32Array(maxHosts * SLOTS_A_HOST);
  }

  /** Which part of the hosts' memory the VMs take; of CPUs and disk it is less. */
  get fullness(): number {
    return this.#vmBytes / this.#hostBytes;
  }

  /** Which part of the hosts' CPUs is used. */
  get use(): number {
    let used = 0;
    let all = 0;
    for (const [host, milliCpus] of this.#milliCpus.entries()) {
      if (!this.isThere(host)) continue;
      used += this.usedOn(host);
      all += milliCpus;
    }
    return used / all;
  }

  /** What the next host is like; `addHost` adds it under the number that the scheduler gave it. */
  nextHost(): Host {
    return hostOf(this.#hostsEver, this.#zones);
  }

  addHost(number: HostNumber, host: Host): void {
    this.#hostsEver += 1;
    this.#milliCpus[number] = host.milliCpus;
    this.#usedOnHost[number] = 0;
    this.#changes[number] = 0;
    this.#memoryBytes[number] = host.memoryBytes;
    this.#hostBytes += host.memoryBytes;
  }

  /** Its VMs have to be taken from it before. */
  removeHost(host: HostNumber): void {
    this.#hostBytes -= this.#memoryBytes[host] as number;
    this.#memoryBytes[host] = 0;
  }

  /** @param ownLevel of a VM that was there before. */
  create(size: number, ownLevel?: number): number {
    const vm = this.#vacant.pop();
    if (vm === undefined) throw new RangeError('too many VMs for the arrays of this bench');
    this.#sizeOf[vm] = size;
    this.#loads.create(vm, ownLevel);
    this.#usedByVm[vm] = this.#loads.milliCpus(vm, size, this.activity);
    this.vms += 1;
    return vm;
  }

  /** A VM that is nowhere. */
  destroy(vm: number): void {
    this.#vacant.push(vm);
    this.vms -= 1;
  }

  hasRoom(host: HostNumber, bytes: number): boolean {
    return (this.#takenBytes[host] as number) + bytes <= (this.#memoryBytes[host] as number);
  }

  put(vm: number, host: HostNumber): void {
    const { memoryBytes } = this.claim(vm);
    const slot = this.#vmsOn[host] as number;
    if (!this.hasRoom(host, memoryBytes) || slot === SLOTS_A_HOST) {
      throw new Error(`host ${host} was given more than it has`);
    }
    this.#hostOf[vm] = host;
    this.#slotOf[vm] = slot;
    this.#slots[host * SLOTS_A_HOST + slot] = vm;
    this.#vmsOn[host] = slot + 1;
    this.#changes[host] = (this.#changes[host] as number) + 1;
    this.#takenBytes[host] = (this.#takenBytes[host] as number) + memoryBytes;
    this.#vmBytes += memoryBytes;
    this.#usedOnHost[host] = (this.#usedOnHost[host] as number) + this.used(vm);
  }

  take(vm: number): void {
    const host = this.hostOf(vm);
    const { memoryBytes } = this.claim(vm);
    const lastSlot = (this.#vmsOn[host] as number) - 1;
    const lastVm = this.#slots[host * SLOTS_A_HOST + lastSlot] as number;
    const slot = this.#slotOf[vm] as number;
    this.#slots[host * SLOTS_A_HOST + slot] = lastVm;
    this.#slotOf[lastVm] = slot;
    this.#vmsOn[host] = lastSlot;
    this.#changes[host] = (this.#changes[host] as number) + 1;
    this.#hostOf[vm] = NOWHERE;
    this.#takenBytes[host] = (this.#takenBytes[host] as number) - memoryBytes;
    this.#vmBytes -= memoryBytes;
    this.#usedOnHost[host] = (this.#usedOnHost[host] as number) - this.used(vm);
  }

  /** Some seconds later all VMs of the host do something else. */
  drift(host: HostNumber, seconds: number): void {
    const drift = driftOver(seconds);
    let sum = 0;
    const end = host * SLOTS_A_HOST + (this.#vmsOn[host] as number);
    for (let slot = host * SLOTS_A_HOST; slot < end; slot += 1) {
      const vm = this.#slots[slot] as number;
      this.#loads.drift(vm, drift);
      const used = this.#loads.milliCpus(vm, this.#sizeOf[vm] as number, this.activity);
      this.#usedByVm[vm] = used;
      sum += used;
    }
    this.#usedOnHost[host] = sum;
  }

  isThere(host: number): host is HostNumber {
    return (this.#memoryBytes[host] as number) > 0;
  }

  /** All VMs that are somewhere. */
  running(): number[] {
    const vms: number[] = [];
    for (const [vm, host] of this.#hostOf.entries()) if (host !== NOWHERE) vms.push(vm);
    return vms;
  }

  vmsOn(host: HostNumber): number[] {
    const from = host * SLOTS_A_HOST;
    return [...this.#slots.subarray(from, from + (this.#vmsOn[host] as number))];
  }

  /** The VMs of a host with what each uses. */
  measured(host: HostNumber): { vm: number; claim: Claim; usedMilliCpus: number }[] {
    return this.vmsOn(host).map((vm) => ({ vm, claim: this.claim(vm), usedMilliCpus: this.used(vm) }));
  }

  hostOf(vm: number): HostNumber {
    return this.#hostOf[vm] as HostNumber;
  }

  sizeOf(vm: number): number {
    return this.#sizeOf[vm] as number;
  }

  claim(vm: number): Claim {
    return claimOfSize(this.#sizeOf[vm] as number);
  }

  /** Thousandths of a CPU that the VM uses now. */
  used(vm: number): number {
    return this.#usedByVm[vm] as number;
  }

  ownLevel(vm: number): number {
    return this.#loads.ownLevel(vm);
  }

  usedOn(host: HostNumber): number {
    return this.#usedOnHost[host] as number;
  }

  /** How many VMs started and ended on the host, all in all. */
  changesOn(host: HostNumber): number {
    return this.#changes[host] as number;
  }

  milliCpusOf(host: HostNumber): number {
    return this.#milliCpus[host] as number;
  }
}
