/**
 * `npm run bench -- NAME`: runs one benchmark and prints its figures.
 * @module
 */
import { cpus, loadavg, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
import { messageOf } from '../src/base/index.ts';
import { ProgressLine } from '../src/cli/output.ts';
import { packagePath, runCommand } from '../src/platform/process/index.ts';
import { type Bench, describeMachine, type Report } from './figures.ts';
import { reportTable } from './table.ts';

const BENCHES: Readonly<Record<string, { about: string; load: () => Promise<{ bench: Bench }> }>> = {
  gateway: {
    about: 'what a request costs at the gateway, and how long it takes, beside nginx and haproxy',
    load: () => import('./gateway.ts'),
  },
  offload: {
    about: 'from an origin to a VM at the edge: cold starts, bytes that the origin is spared, 50 killed VMs',
    load: () => import('./offload.ts'),
  },
  pool: {
    about: 'what a machine costs: first bytes by boot, clone and warm clone, memory, 50 machines taken over',
    load: () => import('./pool.ts'),
  },
  scheduler: {
    about: 'how fast 1,000,000 VMs get a place on 20,000 hosts, and how alike the hosts are used',
    load: () => import('./scheduler.ts'),
  },
};

const DEFAULT_SEED = 1;

const HELP = `Usage: npm run bench -- NAME [--json] [--seed N]

${Object.entries(BENCHES)
  .map(([name, { about }]) => `  ${name.padEnd(10)}${about}`)
  .join('\n')}

  --json     print one JSON object, last, on standard output; its raw samples are in it
  --seed N   what is chosen at random follows from it (default ${DEFAULT_SEED})

BENCH_SCALE=0.02 measures that part of the usual counts: a trial of the bench, not a measurement.

Exit status: 0 measured (short of a target too), 1 could not measure, 2 wrong usage, 130 interrupted.`;

class UsageError extends Error {}

function readArguments(): { help: boolean; name: string | undefined; json: boolean; seed: number } {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
        seed: { type: 'string', default: String(DEFAULT_SEED) },
      },
    });
    if (!/^\d{1,9}$/.test(values.seed)) throw new UsageError(`--seed: expected a whole number`);
    if (positionals.length > 1) throw new UsageError('one bench at a time');
    return { help: values.help, name: positionals[0], json: values.json, seed: Number(values.seed) };
  } catch (error) {
    throw new UsageError(messageOf(error), { cause: error });
  }
}

function readScale(): number {
  const scale = Number(process.env['BENCH_SCALE'] ?? 1);
  if (scale > 0 && scale <= 1) return scale;
  throw new UsageError('BENCH_SCALE: expected a number above 0, at most 1');
}

async function main(): Promise<void> {
  const { help, name, json, seed } = readArguments();
  const scale = readScale();
  if (help) {
    console.log(HELP);
    return;
  }
  const entry = name !== undefined && Object.hasOwn(BENCHES, name) ? BENCHES[name] : undefined;
  if (name === undefined || !entry) {
    throw new UsageError(name === undefined ? 'which bench?' : `there is no bench "${name}"`);
  }
  const report = await measure(name, (await entry.load()).bench, { seed, scale });
  console.log(json ? JSON.stringify(report) : reportTable(report));
}

async function measure(
  name: string,
  bench: Bench,
  { seed, scale }: { seed: number; scale: number },
): Promise<Report> {
  const progress = new ProgressLine();
  const startedAt = new Date();
  const before = loadavg()[0] ?? 0;
  try {
    const { accelerator, ...measured } = await bench.measure({
      seed,
      scale,
      signal: interruption.signal,
      onProgress: (label, done, total) => progress.show(label, done, total),
    });
    return {
      bench: name,
      commit: await commit(),
      machine: describeMachine(
        cpus().map(({ model }) => model),
        totalmem(),
        accelerator,
      ),
      command: `npm run bench -- ${process.argv.slice(2).join(' ')}`,
      seed,
      scale,
      startedAt: startedAt.toISOString(),
      durationSeconds: (Date.now() - startedAt.getTime()) / 1000,
      loadAverage: [before, loadavg()[0] ?? 0],
      ...measured,
    };
  } finally {
    progress.end();
  }
}

/** What was measured: the commit, `-dirty` when files differ from it. */
async function commit(): Promise<string> {
  const git = (...args: string[]) => runCommand('git', args, { cwd: packagePath(), timeoutMs: 10_000 });
  try {
    const { stdout } = await git('rev-parse', '--short=12', 'HEAD');
    const { stdout: changes } = await git('status', '--porcelain');
    return `${stdout.trim()}${changes === '' ? '' : '-dirty'}`;
  } catch {
    return 'unknown';
  }
}

const interruption = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => interruption.abort(new Error(`ended by ${signal}`)));
}

try {
  await main();
} catch (error) {
  const isUsage = error instanceof UsageError;
  console.error(isUsage ? `bench: ${error.message}\n\n${HELP}` : `bench: ${messageOf(error)}`);
  process.exitCode = isUsage ? 2 : interruption.signal.aborted ? 130 : 1;
}
