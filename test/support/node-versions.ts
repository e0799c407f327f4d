import { execFile } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

/** The lines of Node that Orilla supports, and the release of each that the tests run. */
export const SUPPORTED_NODES = ['24.21.0', '26.10.0'] as const;

const run = promisify(execFile);
const TOOLS = join(import.meta.dirname, '..', '..', '.tools');

/** The path of that Node: the running one, or one that npm brings into the checkout (once; run.mjs keeps its own there). */
export async function bringNode(version: string): Promise<string> {
  if (process.versions.node === version) return process.execPath;
  const name = `node-${process.platform}-${process.arch}`;
  const home = join(TOOLS, `node-${version.split('.')[0]}`);
  const stamp = join(home, '.version');
  const node = join(home, 'node_modules', name, 'bin', 'node');
  if (!existsSync(node) || !existsSync(stamp) || readFileSync(stamp, 'utf8') !== version) {
    await mkdir(home, { recursive: true });
    await run('npm', ['install', '--prefix', home, '--no-save', '--ignore-scripts', `${name}@${version}`]);
    writeFileSync(stamp, version);
  }
  return node;
}

/** An environment in which `node`, and all that asks for it by name, is this one. */
export function withNode(node: string): NodeJS.ProcessEnv {
  return { ...process.env, PATH: `${dirname(node)}:${process.env['PATH'] ?? ''}` };
}
