import { type ChildProcess, type ExecFileOptions, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, get } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bringNode, SUPPORTED_NODES, withNode } from '../support/node-versions.ts';

// What a user gets from the registry, made and installed the way it is there: compiled, packed, put into an empty
// folder. Everything happens in a temporary folder; a `dist/` in the checkout is neither used nor touched.

const CHECKOUT = join(import.meta.dirname, '..', '..');

interface PackageJson {
  readonly version: string;
  readonly exports: Readonly<Record<string, unknown>>;
  readonly files: readonly string[];
}
const manifest = JSON.parse(readFileSync(join(CHECKOUT, 'package.json'), 'utf8')) as PackageJson;

let workspace: string;
let tarball: string;

beforeAll(async () => {
  workspace = mkdtempSync(join(tmpdir(), 'orilla-packing-'));
  tarball = await pack();
});
afterAll(() => rmSync(workspace, { recursive: true, force: true }));

async function pack(): Promise<string> {
  const source = join(workspace, 'source');
  mkdirSync(source);
  for (const name of ['package.json', ...manifest.files.filter((file) => file !== 'dist')]) {
    if (existsSync(join(CHECKOUT, name)))
      cpSync(join(CHECKOUT, name), join(source, name), { recursive: true });
  }
  await run(process.execPath, [join(CHECKOUT, 'run.mjs'), 'build', '--out', join(source, 'dist')]);
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', workspace], { cwd: source });
  const packed = JSON.parse(stdout) as unknown;
  const [{ filename }] = Object.values(packed as Record<string, { filename: string }>) as [
    { filename: string },
  ];
  return join(workspace, filename);
}

describe.for(SUPPORTED_NODES)('the packed package on Node %s', (version) => {
  let folder: string;
  let env: NodeJS.ProcessEnv;

  beforeAll(async () => {
    const node = await bringNode(version);
    env = withNode(node);
    folder = join(workspace, `node-${version}`);
    mkdirSync(folder);
    writeFileSync(join(folder, 'package.json'), '{"private": true, "type": "module"}');
    await run('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', tarball], {
      cwd: folder,
      env,
    });
    expect((await run('node', ['--version'], { env })).stdout.trim()).toBe(`v${version}`);
  });

  const orilla = (...args: string[]) =>
    run(join(folder, 'node_modules', '.bin', 'orilla'), args, { cwd: folder, env });

  test('is installed without tests and without sources', () => {
    const installed = join(folder, 'node_modules', 'orilla');
    expect(existsSync(join(installed, 'dist', 'cli', 'main.js'))).toBe(true);
    expect(existsSync(join(installed, 'src'))).toBe(false);
    expect(existsSync(join(installed, 'test'))).toBe(false);
  });

  test.for(Object.keys(manifest.exports))('lets a program import "%s"', async (entry) => {
    const specifier = `orilla${entry.slice(1)}`;
    const attributes = entry.endsWith('.json') ? `, { with: { type: 'json' } }` : '';
    const program = `console.log(Object.keys(await import('${specifier}'${attributes})).length > 0)`;
    const { stdout, stderr } = await run('node', ['--input-type=module', '--eval', program], {
      cwd: folder,
      env,
    });
    expect(stdout.trim()).toBe('true');
    expect(stderr).not.toMatch(/Error/);
  });

  test('gives a TypeScript program its types', async () => {
    const program = `
      import { type EdgeConfig, parseEdgeConfig } from 'orilla';
      const config: EdgeConfig = parseEdgeConfig('', 'orilla.yaml', '.');
      // @ts-expect-error It is a number; if no type were found it would be "any", and no error.
      export const port: string = config.control.listen.port;`;
    writeFileSync(join(folder, 'program.ts'), program);
    const options = ['--strict', '--noEmit', '--module', 'nodenext', '--target', 'esnext', '--skipLibCheck'];
    const types = ['--types', 'node', '--typeRoots', join(CHECKOUT, 'node_modules', '@types')];
    const tsc = join(CHECKOUT, 'node_modules', 'typescript', 'bin', 'tsc');
    await run(process.execPath, [tsc, ...options, ...types, 'program.ts'], { cwd: folder });
  });

  test('has a command that explains itself', async () => {
    expect((await orilla('--help')).stdout).toMatch(/Usage: orilla/);
    expect((await orilla('--version')).stdout.trim()).toBe(manifest.version);
  });

  test('runs what a configuration names, and ends at SIGTERM', async () => {
    const origin = createServer((_request, response) => response.end('from the origin')).listen(
      0,
      '127.0.0.1',
    );
    await once(origin, 'listening');
    const { port } = origin.address() as AddressInfo;
    writeFileSync(join(folder, 'orilla.yaml'), configuration(port));
    const edge = spawn(join(folder, 'node_modules', '.bin', 'orilla'), ['up'], { cwd: folder, env });
    try {
      const { gatewayPort, controlPort } = await untilUp(edge);
      expect(await fetchText(gatewayPort, '/', 'photos.example')).toBe('from the origin');
      expect(await fetchText(controlPort, '/')).toMatch(/<html/i);
      expect(await fetchText(controlPort, '/metrics')).toMatch(/^orilla_/m);

      edge.kill('SIGTERM');
      expect(await once(edge, 'exit')).toEqual([0, null]);
    } finally {
      edge.kill('SIGKILL');
      origin.close();
    }
  });
});

/** Runs a program to its end; when it fails, the error holds all that it printed. */
async function run(command: string, args: readonly string[], options: ExecFileOptions = {}) {
  try {
    return await promisify(execFile)(command, args, { ...options, encoding: 'utf8' });
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    throw new Error(`${command} ${args.join(' ')} failed:\n${stdout}${stderr}`, { cause: error });
  }
}

/** Port 0: whichever is free. */
const configuration = (originPort: number) => `
gateway:
  listen: 127.0.0.1:0
  edgeDomain: edge.example
  api: { listen: 127.0.0.1:0 }
  origins:
    photos:
      hosts: [photos.example]
      upstream: http://127.0.0.1:${originPort}
control: { listen: 127.0.0.1:0 }
`;

interface UpLine {
  readonly gatewayPort: number;
  readonly controlPort: number;
}

/** Reads the log until it says that all is up; throws with what was printed when the program ends before. */
async function untilUp({ stdout, stderr }: ChildProcess): Promise<UpLine> {
  if (!stdout || !stderr) throw new Error('its output is not piped');
  const printed: string[] = [];
  stderr.on('data', (chunk: Buffer) => printed.push(chunk.toString()));
  for await (const line of createInterface({ input: stdout })) {
    printed.push(line);
    if (line.includes('"orilla is up"')) {
      stdout.resume(); // the reader has ended; what follows must not fill the pipe
      return JSON.parse(line) as UpLine;
    }
  }
  throw new Error(`it ended before it was up:\n${printed.join('\n')}`);
}

async function fetchText(port: number, path: string, host = `127.0.0.1:${port}`): Promise<string> {
  const [response] = (await once(get({ host: '127.0.0.1', port, path, headers: { host } }), 'response')) as [
    NodeJS.ReadableStream,
  ];
  let text = '';
  for await (const chunk of response) text += String(chunk);
  return text;
}
