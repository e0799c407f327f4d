import { type Figure, isMet, type Report } from './figures.ts';

/** A report for people: a table, and below it under which conditions each figure holds. */
export function reportTable(report: Report): string {
  const { bench, commit, machine, figures, seed, scale, loadAverage } = report;
  const [before, after] = loadAverage.map((load) => load.toFixed(2));
  const head = [
    `${bench}  at ${commit}, on ${machine}`,
    `seed ${seed}, ${Math.round(report.durationSeconds)} s, load average ${before} before and ${after} after`,
    ...(scale < 1 ? [`BENCH_SCALE=${scale}: a trial with smaller counts, not a measurement`] : []),
  ];
  const rows = [['figure', 'median', 'min–max', 'unit', 'target', 'met'], ...figures.map(cells)];
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  const table = rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '));
  const notes = figures.map(({ name, conditions }) => `${name}\n  ${conditions}`);
  return [...head, '', ...table.map((line) => line.trimEnd()), '', ...notes].join('\n');
}

function cells(figure: Figure): string[] {
  const { name, value, unit, better, target, runs, peer } = figure;
  const met = isMet(figure);
  return [
    name,
    value === null ? '-' : `${value}${peer ? ` (${peer.name} ${peer.value} ${peer.unit})` : ''}`,
    runs.length === 0 ? '-' : `${Math.min(...runs)}–${Math.max(...runs)}`,
    unit,
    target === null ? '-' : `${better === 'lower' ? '≤' : '≥'} ${target}`,
    met === undefined ? '-' : met ? 'yes' : 'no',
  ];
}
