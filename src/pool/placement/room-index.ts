/**
 * Finds the coolest host with room without looking at many.
 *
 * Hosts of one zone with the same labels are a cell. A cell is a grid of buckets: columns by CPU use, rows by room, which is
 * what is free of the scarcest resource, in sixteenths of a typical claim. For each column the rows that are not empty are
 * one word of bits, so a search is some tens of such words, from the coolest column on. Buckets are lists from host to host.
 *
 *            cool                      hot
 *     row 7  .  .  .  .  .  .  .  .  .  .
 *     row 6  .  .  a  .  .  .  .  .  .  .      a claim that needs row 5 at the least gets a,
 *     row 5  .  .  .  .  b  c  d  .  .  .      a smaller one, of row 2, gets e: it is cooler
 *     row 2  .  e  .  .  f  g  h  i  .  .
 */
import type { Claim } from './claim.ts';
import { AMOUNT, COUNT, type HostNumber, type HostTable } from './host-table.ts';

const NOWHERE = -1;
const COLUMNS = 64;
const ROWS = 32;
const ROWS_AN_OCTAVE = 2;
const STEPS_A_TYPICAL_CLAIM = 16;
/** Of a bucket. The first has room as a rule; of some that have, the coolest is wanted. */
const TRIES = 4;
/** Of a bucket all, for a claim that found nothing else. */
export const EVERY = Number.MAX_SAFE_INTEGER;
const NEXT = 0;
const PREVIOUS = 1;
const BUCKET = 2;
const CELL = 3;
const LINKS = 4;
/** 8 KiB each. */
const MAX_CELLS = 4096;

interface Cell {
  readonly zone: number;
  readonly labels: number;
  /** The first host of each bucket, by column and row. */
  readonly heads: Int32Array;
  /** Which rows are not empty, by column. */
  readonly rows: Int32Array;
}

export class RoomIndex {
  readonly #hosts: HostTable;
  readonly #cells: Cell[] = [];
  readonly #cellsOfZone = new Map<number, Cell[]>();
  /** Which zones there are. */
  readonly zones: number[] = [];
  /** Four numbers a host, side by side: they are needed together. */
  readonly #links: Int32Array;
  readonly #cpuStep: number;
  readonly #memoryStep: number;
  readonly #diskStep: number;

  /** @param typicalClaim decides how fast a host is found, not whether. */
  constructor(hosts: HostTable, maxHosts: number, typicalClaim: Claim) {
    this.#hosts = hosts;
    this.#links = new Int32Array(maxHosts * LINKS).fill(NOWHERE);
    const step = (amount: number) => Math.max(1, amount / STEPS_A_TYPICAL_CLAIM);
    this.#cpuStep = step(typicalClaim.milliCpus);
    this.#memoryStep = step(typicalClaim.memoryBytes);
    this.#diskStep = step(typicalClaim.diskBytes);
  }

  /**
   * The cell for such hosts, made if there is none.
   *
   * @throws RangeError when zones and labels are too many together.
   */
  cellFor(zone: number, labels: number): number {
    const found = this.#cells.findIndex((cell) => cell.zone === zone && cell.labels === labels);
    if (found !== -1) return found;
    if (this.#cells.length === MAX_CELLS) {
      throw new RangeError(`zones and labels of hosts make more than ${MAX_CELLS} combinations`);
    }
    const heads = new Int32Array(COLUMNS * ROWS).fill(NOWHERE);
    const cell = { zone, labels, heads, rows: new Int32Array(COLUMNS) };
    const neighbours = this.#cellsOfZone.get(zone);
    if (neighbours) neighbours.push(cell);
    else {
      this.#cellsOfZone.set(zone, [cell]);
      this.zones.push(zone);
    }
    return this.#cells.push(cell) - 1;
  }

  add(host: HostNumber): void {
    const index = this.cellFor(
      this.#hosts.counted(host, COUNT.zone),
      this.#hosts.counted(host, COUNT.labels),
    );
    this.#links[host * LINKS + CELL] = index;
    this.#link(host, this.#cells[index] as Cell, this.#bucket(host));
  }

  remove(host: HostNumber): void {
    if (this.#links[host * LINKS + BUCKET] === NOWHERE) return;
    this.#unlink(host, this.#cells[this.#links[host * LINKS + CELL] as number] as Cell);
  }

  /** To be called after each change to what a host has free or uses. */
  update(host: HostNumber): void {
    const before = this.#links[host * LINKS + BUCKET] as number;
    if (before === NOWHERE) return;
    const bucket = this.#bucket(host);
    if (bucket === before) return;
    const cell = this.#cells[this.#links[host * LINKS + CELL] as number] as Cell;
    this.#unlink(host, cell);
    this.#link(host, cell, bucket);
  }

  /**
   * The coolest host of a zone that has room, as exactly as the columns tell.
   *
   * @param tries how many of a bucket are looked at. With `EVERY` a host is found wherever there is one.
   * @param fromUse below it hosts are passed over.
   */
  coolest(zone: number, claim: Claim, tries = TRIES, fromUse = 0): HostNumber | undefined {
    const cells = this.#cellsOfZone.get(zone);
    if (!cells) return undefined;
    let best = NOWHERE;
    for (let index = 0; index < cells.length; index += 1) {
      const cell = cells[index] as Cell;
      if ((cell.labels & claim.labels) !== claim.labels) continue;
      const found = this.#coolestOf(cell, claim, tries, columnOf(fromUse));
      const isBetter =
        found !== NOWHERE && (best === NOWHERE || this.#hosts.use(found) < this.#hosts.use(best));
      if (isBetter) best = found;
    }
    return best === NOWHERE ? undefined : (best as HostNumber);
  }

  #coolestOf(cell: Cell, claim: Claim, tries: number, fromColumn: number): number {
    const cpu = claim.milliCpus / this.#cpuStep;
    const memory = claim.memoryBytes / this.#memoryStep;
    const disk = claim.diskBytes / this.#diskStep;
    // From this row on a host has room, but for what its row's width hides; below the other one none has.
    const likely = -1 << row(Math.max(cpu, memory, disk));
    const possible = (-1 << row(Math.min(cpu, memory, disk))) & ~likely;
    for (let column = fromColumn; column < COLUMNS; column += 1) {
      const rows = cell.rows[column] as number;
      if (rows === 0) continue;
      for (let left = rows & likely; left !== 0; left &= left - 1) {
        const found = this.#tryBucket(cell, column * ROWS + lowestBit(left), claim, tries);
        if (found !== NOWHERE) return found;
      }
      // A claim unlike the typical one: much of one resource and little of another.
      for (let left = rows & possible; left !== 0; left &= left - 1) {
        const found = this.#tryBucket(cell, column * ROWS + lowestBit(left), claim, tries);
        if (found !== NOWHERE) return found;
      }
    }
    return NOWHERE;
  }

  /** The coolest of the first few in a bucket: all of them are open and have the cell's labels. */
  #tryBucket(cell: Cell, bucket: number, claim: Claim, tries: number): number {
    let best = NOWHERE;
    let host = cell.heads[bucket] as number;
    for (let left = tries; host !== NOWHERE && left > 0; left -= 1) {
      const isCooler = best === NOWHERE || this.#hosts.use(host) < this.#hosts.use(best);
      if (isCooler && this.#hosts.hasRoom(host, claim)) best = host;
      host = this.#links[host * LINKS + NEXT] as number;
    }
    return best;
  }

  #bucket(host: number): number {
    const hosts = this.#hosts;
    const steps = Math.min(
      hosts.amount(host, AMOUNT.freeMilliCpus) / this.#cpuStep,
      hosts.amount(host, AMOUNT.freeMemoryBytes) / this.#memoryStep,
      hosts.amount(host, AMOUNT.freeDiskBytes) / this.#diskStep,
    );
    return columnOf(hosts.use(host)) * ROWS + row(steps);
  }

  #link(host: number, cell: Cell, bucket: number): void {
    const head = cell.heads[bucket] as number;
    this.#links[host * LINKS + BUCKET] = bucket;
    this.#links[host * LINKS + PREVIOUS] = NOWHERE;
    this.#links[host * LINKS + NEXT] = head;
    cell.heads[bucket] = host;
    if (head === NOWHERE) setBit(cell.rows, bucket);
    else this.#links[head * LINKS + PREVIOUS] = host;
  }

  #unlink(host: number, cell: Cell): void {
    const bucket = this.#links[host * LINKS + BUCKET] as number;
    const next = this.#links[host * LINKS + NEXT] as number;
    const previous = this.#links[host * LINKS + PREVIOUS] as number;
    this.#links[host * LINKS + BUCKET] = NOWHERE;
    if (next !== NOWHERE) this.#links[next * LINKS + PREVIOUS] = previous;
    if (previous !== NOWHERE) this.#links[previous * LINKS + NEXT] = next;
    else {
      cell.heads[bucket] = next;
      if (next === NOWHERE) clearBit(cell.rows, bucket);
    }
  }
}

const columnOf = (use: number): number => Math.min(COLUMNS - 1, Math.floor(use * COLUMNS));

/** 0 for less than a step, then two rows an octave, from 1, 2, 3, 4, 6, 8, 12 … steps. Never falls as `steps` rise. */
function row(steps: number): number {
  if (!(steps >= 1)) return 0;
  const whole = Math.min(steps, 0xffff) | 0;
  const octave = 31 - Math.clz32(whole);
  const half = octave === 0 ? 0 : (whole >>> (octave - 1)) & 1;
  return Math.min(ROWS - 1, octave * ROWS_AN_OCTAVE + half);
}

const lowestBit = (word: number): number => 31 - Math.clz32(word & -word);

function setBit(words: Int32Array, bucket: number): void {
  const column = Math.trunc(bucket / ROWS);
  words[column] = (words[column] as number) | (1 << (bucket % ROWS));
}

function clearBit(words: Int32Array, bucket: number): void {
  const column = Math.trunc(bucket / ROWS);
  words[column] = (words[column] as number) & ~(1 << (bucket % ROWS));
}
