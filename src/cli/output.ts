import { CommanderError } from 'commander';
import { hasCode, messageOf } from '../base/index.ts';

/** Prints what went wrong and sets the exit status: 2 for what the user wrote, 1 for everything else. */
export function failWith(error: unknown): void {
  process.stderr.write(`orilla: ${plainText(describe(error))}\n`);
  const isUsers = error instanceof CommanderError || hasCode(error, 'config_invalid', 'wrong_usage');
  process.exitCode = isUsers ? 2 : 1;
}

/**
 * What guests, images and servers say may move the cursor, rename the window or turn the writing of whoever reads it:
 * no control character but tab and line feed is printed, nor one that changes the direction.
 */
export const plainText = (text: string): string =>
  text.replace(/[^\t\n\u0020-\u007E\u00A0-\uFFFF]|[\u202A-\u202E\u2066-\u2069]/g, '');

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
    printJson(rows);
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
  process.stdout.write(`${plainText(line)}\n`);
}

export function printJson(value: unknown): void {
  // JSON itself escapes control characters below U+0020 only; a terminal minds those above ASCII too.
  const text = JSON.stringify(value, undefined, 2);
  print(text.replace(/[\u007F-\u009F]/g, (control) => `\\u00${control.charCodeAt(0).toString(16)}`));
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
