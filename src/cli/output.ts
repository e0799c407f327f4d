import { CommanderError } from 'commander';
import { hasCode, messageOf } from '../base/index.ts';

/** Prints what went wrong and sets the exit status: 2 for what the user wrote, 1 for everything else. */
export function failWith(error: unknown): void {
  process.stderr.write(`orilla: ${describe(error)}\n`);
  process.exitCode = error instanceof CommanderError || hasCode(error, 'config_invalid') ? 2 : 1;
}

function describe(error: unknown): string {
  if (hasCode(error) || error instanceof CommanderError) return messageOf(error);
  // The system's word names the file or the socket that it is about; our place in the code says no more.
  if (error instanceof Error && 'syscall' in error) return messageOf(error);
  // Not one of ours: a fault of the program, of which the developers want to know the place.
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

/** Prints rows under a heading each, as wide as their widest cell; or the records as JSON. */
export function printTable<Row>(
  rows: readonly Row[],
  columns: Readonly<Record<string, (row: Row) => string>>,
  options: { readonly json?: boolean; readonly empty: string },
): void {
  if (options.json) {
    print(JSON.stringify(rows, undefined, 2));
    return;
  }
  if (rows.length === 0) {
    print(options.empty);
    return;
  }
  const headings = Object.keys(columns);
  const cells = [headings.map((heading) => heading.toUpperCase())];
  for (const row of rows) cells.push(Object.values(columns).map((cell) => cell(row)));
  const widths = headings.map((_, column) => Math.max(...cells.map((line) => line[column]?.length ?? 0)));
  for (const line of cells)
    print(
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    );
}

export function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/**
 * A line that says how far long work is. On a terminal it is drawn over itself; elsewhere the beginning and the end are
 * a line each.
 */
export class ProgressLine {
  readonly #stream = process.stderr;
  #label = '';

  show(label: string, done?: number, total?: number): void {
    const text = total ? `${label}  ${Math.floor((100 * (done ?? 0)) / total)} %` : label;
    if (this.#stream.isTTY) this.#stream.write(`\r\u001B[K· ${text}`);
    else if (label !== this.#label) this.#stream.write(`· ${label}\n`);
    this.#label = label;
  }

  end(): void {
    if (this.#stream.isTTY && this.#label !== '') this.#stream.write('\r\u001B[K');
    this.#label = '';
  }
}
