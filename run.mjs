// What `npm start`, `npm test` and the other scripts go through: brings what is missing, then hands over. Plain
// JavaScript, as is run/, so that whatever Node (16 or later) is on the machine runs it.
import * as fs from 'node:fs';
import os from 'node:os';
import { extname, join } from 'node:path';
import { Failure, passOnSignals, ROOT, run, runQuietly, seconds, withNode } from './run/programs.mjs';
import {
  CHROMIUM,
  currentNode,
  debianPackages,
  IPROUTE,
  NFTABLES,
  npmPackages,
  QEMU,
  QEMU_IMG,
  SSH,
} from './run/set-up.mjs';

const HELP = `Usage: node run.mjs VERB [arguments]

  start [arguments]     sets everything up and runs the demo; arguments go to "orilla demo"
  test [arguments]      every check and every test; with arguments only vitest runs, with them:
                        npm test -- test/architecture.test.ts   ·   npm test -- src/pool -t "a lease"
  check                 the checks that end in seconds: format, lint, types, unused, architecture, requirements
  format                formats the sources and sorts their imports
  build                 compiles src/ into dist/ (--out FOLDER: elsewhere)
  orilla COMMAND        runs the command from the sources: npm run orilla -- vm ls
  bench NAME [--json]   measures one figure of bench/

  --yes                 installs missing Debian packages without asking, as do CI=true and a run without a terminal

With CI=true a missing tool is a failure; otherwise its tests are skipped, loudly.`;

const VERBS = {
  start: { needs: [QEMU, QEMU_IMG, NFTABLES, IPROUTE], run: start },
  test: { needs: [QEMU, QEMU_IMG, NFTABLES, IPROUTE, SSH, CHROMIUM], run: test },
  check: { needs: [], run: check },
  format: { needs: [], run: format },
  orilla: { needs: [], run: orilla },
  build: { needs: [], run: build },
  bench: { needs: [QEMU, NFTABLES, IPROUTE], run: bench },
};

/** The checks that read sources and run nothing. Each is a list of programs that must all succeed. */
const CHECKS = {
  format: [['@biomejs/biome/bin/biome', 'check', '.']],
  lint: [['oxlint/bin/oxlint', '--type-aware']],
  types: ['tsconfig.json', 'tsconfig.universal.json', 'tsconfig.browser.json'].map((project) => [
    'typescript/bin/tsc',
    '-p',
    project,
  ]),
  unused: [['knip/bin/knip.js', '--no-progress', '--no-config-hints']],
};

async function start(node, args) {
  return run(node, ['src/cli/main.ts', 'demo', ...args], { env: withNode(node) });
}

async function orilla(node, args) {
  return run(node, ['src/cli/main.ts', ...args], { env: withNode(node) });
}

async function bench(node, args) {
  return run(node, ['bench/run.ts', ...args], { env: withNode(node) });
}

async function format(node) {
  return run(node, [script('@biomejs/biome/bin/biome'), 'check', '--write', '.']);
}

/** Compiles beside the target and swaps, so that a running program never sees half a `dist`. */
async function build(node, args) {
  const out = args[0] === '--out' ? args[1] : join(ROOT, 'dist');
  if (!out) throw new Failure('build: --out needs a folder');
  const fresh = `${out}.${process.pid}.new`;
  const compiler = [script('typescript/bin/tsc'), '-p', 'tsconfig.build.json', '--outDir', fresh];
  const code = await run(node, compiler);
  if (code === 0) {
    copyTree(join(ROOT, 'src'), fresh, (file) => extname(file) !== '.ts');
    fs.rmSync(out, { recursive: true, force: true });
    fs.renameSync(fresh, out);
  }
  fs.rmSync(fresh, { recursive: true, force: true });
  return code;
}

async function check(node) {
  const fast = ['test/architecture.test.ts', 'test/requirements.test.ts'];
  const results = await Promise.all([
    ...Object.keys(CHECKS).map((name) => checkSources(node, name)),
    step('architecture, requirements', [runQuietly(node, [script('vitest/vitest.mjs'), 'run', ...fast])]),
  ]);
  return results.every(({ failed }) => failed === 0) ? 0 : 1;
}

async function test(node, args) {
  const results = [];
  if (args.length > 0) {
    results.push(await vitest(node, 'tests', args));
  } else {
    for (const name of Object.keys(CHECKS)) results.push(await checkSources(node, name));
    for (const name of ['unit', 'integration']) {
      results.push(await vitest(node, name, ['--project', name]));
    }
  }
  const sum = (key) => results.reduce((total, result) => total + result[key], 0);
  if (sum('skipped') > 0) console.log(`\n${sum('skipped')} skipped`);
  console.log(`\n${sum('passed')} passed, ${sum('failed')} failed`);
  return sum('failed') === 0 ? 0 : 1;
}

function checkSources(node, name) {
  return step(
    name,
    CHECKS[name].map(([path, ...args]) => runQuietly(node, [script(path), ...args])),
  );
}

/** Waits for a step's programs and prints its name and time; when one failed, what it printed too. */
async function step(name, programs) {
  const startMs = Date.now();
  const failed = (await Promise.all(programs)).filter(({ code }) => code !== 0);
  printStep(name, failed.length === 0, startMs);
  for (const { output } of failed) console.log(output);
  return { passed: failed.length === 0 ? 1 : 0, failed: failed.length === 0 ? 0 : 1, skipped: 0 };
}

/** Runs vitest on the terminal and counts its tests from the JSON report that it writes beside. */
async function vitest(node, name, args) {
  const folder = fs.mkdtempSync(join(os.tmpdir(), 'orilla-test-'));
  const report = join(folder, 'report.json');
  const startMs = Date.now();
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const vitestArgs = [script('vitest/vitest.mjs'), 'run', ...reporters, ...args];
  const code = await run(node, vitestArgs, { env: withNode(node) });
  const counts = countTests(report, code);
  fs.rmSync(folder, { recursive: true, force: true });
  printStep(name, counts.failed === 0, startMs);
  return counts;
}

/** A file that could not be loaded is one failure, and so is what went wrong outside any test. */
function countTests(report, code) {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  if (fs.existsSync(report)) {
    const result = JSON.parse(fs.readFileSync(report, 'utf8'));
    const isUnloaded = ({ status, assertionResults }) =>
      status === 'failed' && !assertionResults.some((assertion) => assertion.status === 'failed');
    counts.passed = result.numPassedTests;
    counts.failed = result.numFailedTests + result.testResults.filter(isUnloaded).length;
    counts.skipped = result.numPendingTests;
  }
  if (code !== 0 && counts.failed === 0) counts.failed = 1;
  return counts;
}

function printStep(name, isPassed, startMs) {
  console.log(`${isPassed ? '✓' : '✗'} ${name}  (${seconds(startMs)})`);
}

function script(path) {
  return join(ROOT, 'node_modules', path);
}

function copyTree(from, to, isWanted) {
  for (const entry of fs.readdirSync(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) {
      copyTree(source, target, isWanted);
    } else if (isWanted(source)) {
      fs.mkdirSync(to, { recursive: true });
      fs.copyFileSync(source, target);
    }
  }
}

async function main([name, ...rest]) {
  const verb = VERBS[name];
  if (!verb) {
    const isAsked = ['--help', '-h', 'help'].includes(name);
    console[isAsked ? 'log' : 'error'](HELP);
    return isAsked ? 0 : 2;
  }
  passOnSignals();
  const args = rest.filter((argument) => argument !== '--yes' && argument !== '--');
  // `npm start --yes` without `--`: npm takes the option for itself and hands it down like this.
  const saysYes = args.length < rest.length || process.env.npm_config_yes === 'true';
  const asksFirst = !saysYes && process.env.CI !== 'true' && process.stdin.isTTY;
  const node = await currentNode();
  // A test that builds must not have the packages replaced under it.
  if (!process.env.VITEST) await npmPackages();
  await debianPackages(verb.needs, asksFirst);
  return verb.run(node, args);
}

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (error) => {
    console.error(error instanceof Failure ? `\n${error.message}` : error);
    process.exitCode = 1;
  },
);
