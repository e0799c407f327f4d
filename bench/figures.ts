/**
 * What a benchmark reports, and the arithmetic behind it. Pure: reads no clock, no machine, no file.
 * @module
 */

/** One figure, as `npm run bench -- NAME --json` prints it. */
export interface Figure {
  readonly name: string;
  /** The median of `runs`; `null` when it cannot be measured here, for the reason in `conditions`. */
  readonly value: number | null;
  readonly unit: string;
  readonly better: 'lower' | 'higher';
  /** `null` for a figure that only explains others. */
  readonly target: number | null;
  readonly runs: readonly number[];
  /** What ours was measured beside, in the same session and in turn. */
  readonly peer?: { readonly name: string; readonly value: number; readonly unit: string };
  /** What has to be known to read the value. */
  readonly conditions: string;
}

/** What a bench hands back; `run.ts` adds where and when. */
export interface Measurement {
  readonly figures: readonly Figure[];
  /** The accelerator of the VMs that took part, when any did. */
  readonly accelerator?: string | undefined;
  /** What the figures were computed from, by phase. */
  readonly samples: Readonly<Record<string, unknown>>;
}

/** The one JSON object of a bench. */
export interface Report extends Omit<Measurement, 'accelerator'> {
  readonly bench: string;
  readonly commit: string;
  readonly machine: string;
  readonly command: string;
  readonly seed: number;
  /** Below 1 the counts were cut down and the figures are no measurement. */
  readonly scale: number;
  readonly startedAt: string;
  readonly durationSeconds: number;
  /** Of the last minute, before and after: what else ran then ran during the measurement too. */
  readonly loadAverage: readonly [before: number, after: number];
}

export interface BenchOptions {
  /** Decides all that is chosen at random. */
  readonly seed: number;
  /** Between 0 and 1: which part of the usual counts is measured. */
  readonly scale: number;
  /** Ends the bench; it rejects with the signal's reason when it has cleaned up. */
  readonly signal: AbortSignal;
  readonly onProgress: (label: string, done?: number, total?: number) => void;
}

/** What a file of `bench/` exports as `bench`. */
export interface Bench {
  measure(options: BenchOptions): Promise<Measurement>;
}

const ascending = (values: readonly number[]): number[] => values.toSorted((a, b) => a - b);

/** The middle value; of an even number of values the mean of the two in the middle. `NaN` of none. */
export function median(values: readonly number[]): number {
  const sorted = ascending(values);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/**
 * The smallest of the values that at least `percent` of them do not exceed (nearest rank): always a value that was seen,
 * never one computed between two. `NaN` of none.
 */
export function percentile(values: readonly number[], percent: number): number {
  const rank = Math.ceil((percent / 100) * values.length);
  return ascending(values)[Math.max(0, rank - 1)] ?? Number.NaN;
}

export type FigureWords = Pick<Figure, 'name' | 'unit' | 'better' | 'conditions'> &
  Partial<Pick<Figure, 'target' | 'peer'>>;

/** A figure out of its runs. Without a run its value is `null`, and `conditions` has to say why. */
export function figure(words: FigureWords, runs: readonly number[]): Figure {
  const { name, unit, better, target = null, peer, conditions } = words;
  const rounded = runs.map(round);
  return {
    name,
    value: rounded.length === 0 ? null : round(median(rounded)),
    unit,
    better,
    target,
    runs: rounded,
    ...(peer && { peer }),
    conditions,
  };
}

/** Four significant digits and no fewer than the units: more would pretend. */
function round(value: number): number {
  return Math.abs(value) >= 1000 ? Math.round(value) : Number(value.toPrecision(4));
}

/** Whether the target is met; `undefined` without a target or a value. */
export function isMet({ value, target, better }: Figure): boolean | undefined {
  if (value === null || target === null) return undefined;
  return better === 'lower' ? value <= target : value >= target;
}

/** `2 × Intel(R) Xeon(R) Processor, 24 GiB, TCG` */
export function describeMachine(
  cpuModels: readonly string[],
  memoryBytes: number,
  accelerator?: string,
): string {
  const counts = new Map<string, number>();
  for (const model of cpuModels) {
    const name = model.replace(/\s+/g, ' ').trim() || 'unknown processor';
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  const processors = [...counts].map(([model, count]) => `${count} × ${model}`);
  const parts = [...processors, `${Math.round(memoryBytes / 2 ** 30)} GiB`];
  return [...parts, ...(accelerator === undefined ? [] : [accelerator.toUpperCase()])].join(', ');
}
