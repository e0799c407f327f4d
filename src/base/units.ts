const BINARY_UNITS: Readonly<Record<string, number>> = {
  B: 1,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};

const DURATION_UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  min: 60_000,
  h: 3_600_000,
};

/** `"128 MiB"` → 134217728. `undefined` when the text is not a number with one of the units B, KiB, MiB, GiB, TiB. */
export function parseBytes(text: string): number | undefined {
  return parseWithUnit(text, BINARY_UNITS);
}

/** `"1.5 s"` → 1500. `undefined` when the text is not a number with one of the units ms, s, min, h. */
export function parseDurationMs(text: string): number | undefined {
  return parseWithUnit(text, DURATION_UNITS);
}

function parseWithUnit(text: string, units: Readonly<Record<string, number>>): number | undefined {
  const match = /^\s*(\d{1,12}(?:\.\d{1,6})?)\s*([A-Za-z]+)\s*$/.exec(text);
  // hasOwn: "1 constructor" is no size, though every object has one.
  const factor = match?.[2] !== undefined && Object.hasOwn(units, match[2]) ? units[match[2]] : undefined;
  const value = factor === undefined ? undefined : Math.round(Number(match?.[1]) * factor);
  return Number.isSafeInteger(value) ? value : undefined;
}

/** 134217728 → `"128 MiB"`; at most one decimal. */
export function formatBytes(sizeBytes: number): string {
  let value = sizeBytes;
  for (const unit of ['B', 'KiB', 'MiB', 'GiB']) {
    if (value < 1024) return `${trim(value)} ${unit}`;
    value /= 1024;
  }
  return `${trim(value)} TiB`;
}

/** 1540 → `"1.5 s"`, 42.3 → `"42 ms"`, 0.42 → `"0.4 ms"`. */
export function formatDuration(durationMs: number): string {
  if (durationMs < 10) return `${trim(durationMs)} ms`;
  if (durationMs < 1000) return `${Math.round(durationMs)} ms`;
  if (durationMs < 120_000) return `${trim(durationMs / 1000)} s`;
  if (durationMs < 7_200_000) return `${Math.round(durationMs / 60_000)} min`;
  return `${trim(durationMs / 3_600_000)} h`;
}

const trim = (value: number): string => value.toFixed(1).replace(/\.0$/, '');
