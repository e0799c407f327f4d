import { existsSync, readFileSync } from 'node:fs';
import { dirname, extname, join } from 'node:path';

const PACKAGE_NAME = 'orilla';

let root: string | undefined;

/**
 * The path of something that is shipped beside the code: `packagePath('web', 'status')`. Without segments, the folder
 * of the package itself. The same whether the sources run or what was compiled from them.
 */
export function packagePath(...segments: string[]): string {
  root ??= findPackage(import.meta.dirname);
  return join(root, ...segments);
}

/**
 * The path of a program of ours that runs in a process or a worker of its own, named by its place under `src/` without
 * the extension: `entryPath('gateway/data-plane/worker')`. The compiler rewrites imports, but no other path to a file.
 */
export function entryPath(name: string): string {
  // Sources and compiled code have the same tree, and this file is two folders below its top.
  return join(import.meta.dirname, '..', '..', name) + extname(import.meta.filename);
}

/** The nearest folder at or above `directory` whose package.json is ours. */
export function findPackage(directory: string): string {
  for (let folder = directory; ; folder = dirname(folder)) {
    if (isOurPackage(join(folder, 'package.json'))) return folder;
    if (folder === dirname(folder)) {
      throw new Error(
        `no package.json of "${PACKAGE_NAME}" in ${directory} or above: the installation is not whole`,
      );
    }
  }
}

function isOurPackage(file: string): boolean {
  if (!existsSync(file)) return false;
  const content: unknown = JSON.parse(readFileSync(file, 'utf8'));
  return (
    typeof content === 'object' && content !== null && 'name' in content && content.name === PACKAGE_NAME
  );
}
