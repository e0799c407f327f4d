import { statSync } from 'node:fs';
import { enableCompileCache, flushCompileCache } from 'node:module';
import { join, resolve } from 'node:path';

const FOREIGN_WRITERS = 0o022;

/**
 * Keeps what Node compiles in a data folder from one command to the next: loading is most of the time that a command takes,
 * and much of a takeover. To be called before the command's own modules are loaded. Whoever can write there could have us run
 * what he likes, so it has to be a folder that is there already, ours, and nobody else's to write to.
 */
export function keepCompiledCode(folder: string): void {
  // The folder's `cache`, as `dataFolder` in src/edge has it, which is not to be loaded yet.
  if (isOurs(folder)) enableCompileCache(join(resolve(folder), 'cache', 'node'));
}

/** Writes down what was compiled until now: a process that is killed comes to no orderly end. */
export const saveCompiledCode = (): void => flushCompileCache();

function isOurs(folder: string): boolean {
  const stats = statSync(folder, { throwIfNoEntry: false });
  return stats !== undefined && stats.uid === process.geteuid?.() && (stats.mode & FOREIGN_WRITERS) === 0;
}
