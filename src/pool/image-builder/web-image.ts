import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, type Random } from '../../base/index.ts';
import { runCommand } from '../../platform/process/index.ts';
import type { ImageManifest } from '../schema.ts';
import { type ContentTree, readContentTree } from './content-tree.ts';
import { type CpioEntry, cpioArchive } from './cpio.ts';
import { DebianPackages, type RunCommand } from './debian-package.ts';
import { buildError } from './errors.ts';
import { type GuestKernel, readGuestKernel } from './guest-kernel.ts';
import { requireReplaceable, writeImageDirectory } from './image-directory.ts';
import { PackageFiles } from './package-files.ts';
import { type PackageProgram, readPackageProgram } from './package-program.ts';
import type { PackageRecord } from './package-record.ts';
import { resumeProgram } from './resume-program.ts';

export interface WebImageOptions {
  readonly name: string;
  /** Served by the guest below `/`. Without it the guest shows a page that says so. */
  readonly contentDirectory?: string;
  /** Becomes the image. An image that is there is replaced; a folder with anything else in it is refused. */
  readonly outputDirectory: string;
  /** Keeps the Debian packages, so that the next build needs no network. */
  readonly cacheDirectory: string;
  /** The folder `guest/web` of this project. */
  readonly recipeDirectory: string;
  /** For which processor; this machine's own when absent. */
  readonly architecture?: ImageManifest['architecture'];
  readonly signal?: AbortSignal;
  /** Called when a step begins: `done` of `total` steps are behind us. */
  readonly onProgress?: (step: { label: string; done: number; total: number }) => void;
}

/** arm64 is made the same way, and untested. */
const DEBIAN_ARCHITECTURES = { x86_64: 'amd64', aarch64: 'arm64' } as const;
/** What the guest's init loads, see there; what these need comes along. */
const MODULES = ['virtio_mmio', 'virtio_net', 'virtio_blk', 'virtio_console', 'virtio_rng'];
/** In the package and in the guest. */
const AGENT_PATH = 'usr/sbin/qemu-ga';
/**
 * `cryptomgr.notests`: the kernel tests its ciphers at each boot, a tenth of the way to the first answer under emulation.
 * `rootfstype=ramfs`: as tmpfs the root would take half of the memory at most, and a large content would be cut off there.
 */
const COMMAND_LINE = 'quiet cryptomgr.notests rootfstype=ramfs';
const MIB = 2 ** 20;
/** Enough for kernel, busybox and requests; a guest of 64 MiB does not boot. */
const BASE_MEMORY_BYTES = 128 * MIB;

/**
 * Builds the image *web*: a guest that serves a folder over HTTP. The same packages, recipe and content give the same octets.
 *
 * @throws the errors of `errors.ts` in this folder, and the signal's reason.
 */
export async function buildWebImage(
  deps: { random: Random; run?: RunCommand },
  options: WebImageOptions,
): Promise<ImageManifest> {
  const { signal, contentDirectory, recipeDirectory } = options;
  const run = deps.run ?? runCommand;
  // Told before minutes of work, not after.
  await requireReplaceable(options.outputDirectory);
  const architecture = options.architecture ?? (process.arch === 'arm64' ? 'aarch64' : 'x86_64');
  const debianArchitecture = DEBIAN_ARCHITECTURES[architecture];
  const packages = new DebianPackages(
    { run },
    { cacheDirectory: options.cacheDirectory, architecture: debianArchitecture },
  );
  const step = progress(options, 6);

  step('Reading the content');
  const content =
    contentDirectory === undefined ? undefined : await readContentTree(contentDirectory, 'www', signal);
  step('Fetching the Linux kernel');
  const kernelRecord = await findKernel(packages, debianArchitecture, signal);
  const kernelPackage = await packages.fetch(kernelRecord, signal);
  step('Fetching busybox');
  const busyboxRecord = await packages.find('busybox-static', signal);
  const busyboxPackage = await packages.fetch(busyboxRecord, signal);
  step("Fetching QEMU's guest agent");
  const agent = await readPackageProgram({ run, packages }, 'qemu-guest-agent', AGENT_PATH, signal);
  step('Unpacking');
  const kernel = await PackageFiles.with(
    { run },
    kernelPackage,
    (files) => readGuestKernel(files, MODULES),
    signal,
  );
  const busybox = await PackageFiles.with({ run }, busyboxPackage, readBusybox, signal);
  const base = await baseEntries(recipeDirectory, kernel, busybox, agent, architecture);
  step('Writing the image');
  return writeImageDirectory(
    deps,
    options.outputDirectory,
    async (write) => ({
      format: 'orilla.image/1',
      name: options.name,
      architecture,
      kernel: await write('vmlinuz', [kernel.image]),
      initrd: [
        await write('base.cpio', cpioArchive(base)),
        ...(content ? [await write('content.cpio', cpioArchive(content.entries))] : []),
      ],
      commandLine: COMMAND_LINE,
      http: { port: 80, readyPath: '/' },
      applications: { program: '/bin/orilla-application' },
      minimumMemoryBytes: memoryFor(content),
      sources: {
        [kernelRecord.name]: kernelRecord.version,
        [busyboxRecord.name]: busyboxRecord.version,
        ...Object.fromEntries(agent.packages.map(({ name, version }) => [name, version])),
      },
    }),
    signal,
  );
}

/** `linux-image-cloud-*` is empty and depends on the newest kernel, which has its version in its name. */
async function findKernel(
  packages: DebianPackages,
  architecture: string,
  signal: AbortSignal | undefined,
): Promise<PackageRecord> {
  const newest = await packages.find(`linux-image-cloud-${architecture}`, signal);
  const name = newest.depends.find((dependency) => dependency.startsWith('linux-image-'));
  if (name !== undefined) return packages.find(name, signal);
  throw buildError('guest_kernel_unsuitable', `${newest.name} ${newest.version} names no kernel package`);
}

async function readBusybox(files: PackageFiles): Promise<Buffer> {
  // Debian 13 moved /bin into /usr.
  const name = files.names.find((candidate) => /^(?:usr\/)?bin\/busybox$/.test(candidate));
  const [busybox] = name === undefined ? [] : await files.read([name]);
  if (busybox) return busybox;
  throw buildError('package_damaged', 'the Debian package busybox-static holds no busybox');
}

async function baseEntries(
  recipeDirectory: string,
  kernel: GuestKernel,
  busybox: Buffer,
  agent: PackageProgram,
  architecture: ImageManifest['architecture'],
): Promise<CpioEntry[]> {
  const recipe = async (file: string): Promise<Buffer> =>
    readFile(join(recipeDirectory, file)).catch((error: unknown) => {
      throw buildError('recipe_invalid', `the guest's recipe is not whole: ${messageOf(error)}`, error);
    });
  const directory = (name: string, mode = 0o755): CpioEntry => ({ kind: 'directory', name, mode });
  const file = (name: string, mode: number, content: Buffer): CpioEntry => ({
    kind: 'file',
    name,
    mode,
    content,
  });
  const ofModules = new Set(kernel.moduleEntries.map(({ name }) => name));
  const folders = [...new Set([...FOLDERS, ...foldersOf(agent.entries)])].filter(
    (name) => !ofModules.has(name),
  );
  return [
    ...folders.map((name) => directory(name)),
    directory('tmp', 0o1777),
    // The kernel gives init this for its words, before init can mount what knows all devices (Linux, devices.txt: 5, 1).
    { kind: 'character-device', name: 'dev/console', mode: 0o600, major: 5, minor: 1 },
    file('bin/busybox', 0o755, busybox),
    { kind: 'symlink', name: 'bin/sh', target: 'busybox' },
    file('init', 0o755, await recipe('init')),
    file('bin/orilla-agent', 0o755, await recipe('agent')),
    file('bin/orilla-application', 0o755, await recipe('application')),
    file('bin/orilla-commands', 0o755, await recipe('commands')),
    // QEMU's guest agent calls these two by their paths.
    file('sbin/shutdown', 0o755, await recipe('shutdown')),
    { kind: 'symlink', name: 'sbin/hwclock', target: '../bin/busybox' },
    ...agent.entries,
    // Without it no clone comes of the guest; templates are for x86-64 only.
    ...(architecture === 'x86_64' ? [file('bin/orilla-resume', 0o755, resumeProgram())] : []),
    // Debian's number for whoever serves the web; the first one that is for people, for applications.
    file('etc/passwd', 0o644, Buffer.from(USERS.map((user) => `${user}\n`).join(''))),
    file('etc/group', 0o644, Buffer.from('root:x:0:\nwww:x:33:\napp:x:1000:\n')),
    file('etc/httpd.conf', 0o644, await recipe('httpd.conf')),
    file('www/index.html', 0o644, await recipe('index.html')),
    file('www/cgi-bin/where', 0o755, await recipe('where')),
    ...kernel.moduleEntries,
  ];
}

const FOLDERS = ['bin', 'dev', 'etc', 'proc', 'run', 'sbin', 'srv', 'sys', 'www', 'www/cgi-bin'];
const USERS = ['root:x:0:0::/:/bin/sh', 'www:x:33:33::/www:/bin/false', 'app:x:1000:1000::/tmp:/bin/false'];

/** The kernel unpacks no file into a folder that is not there. */
function foldersOf(entries: readonly CpioEntry[]): string[] {
  return entries.flatMap(({ name }) => {
    const parts = name.split('/').slice(0, -1);
    return parts.map((_, depth) => parts.slice(0, depth + 1).join('/'));
  });
}

/** While the kernel unpacks the content it is in memory twice. */
function memoryFor(content: ContentTree | undefined): number {
  return BASE_MEMORY_BYTES + Math.ceil((2 * (content?.sizeBytes ?? 0)) / MIB) * MIB;
}

function progress({ onProgress, signal }: WebImageOptions, total: number): (label: string) => void {
  let done = 0;
  return (label) => {
    signal?.throwIfAborted();
    onProgress?.({ label, done, total });
    done += 1;
  };
}
