import type { CpioEntry } from './cpio.ts';
import { buildError } from './errors.ts';
import type { PackageFiles } from './package-files.ts';

export interface GuestKernel {
  /** The kernel's own name for itself (`uname -r`). */
  readonly release: string;
  readonly image: Buffer;
  /** The modules and their index, below `lib/modules/`, ready for `modprobe` in the guest. */
  readonly moduleEntries: readonly CpioEntry[];
}

interface KernelModule {
  readonly file: string;
  readonly content: Buffer;
  /** Names of the modules that must be loaded before it. */
  readonly depends: readonly string[];
}

/**
 * Takes the kernel, the modules that are wanted, and those which they need, out of a Debian kernel package. A module that
 * is built into the kernel is left out.
 *
 * @throws `guest_kernel_unsuitable` when the package holds no kernel or lacks a module.
 */
export async function readGuestKernel(
  files: PackageFiles,
  wantedModules: readonly string[],
): Promise<GuestKernel> {
  const imageName = files.names.find((name) => name.startsWith('boot/vmlinuz-'));
  if (imageName === undefined) {
    throw buildError('guest_kernel_unsuitable', 'the Debian kernel package holds no /boot/vmlinuz');
  }
  const release = imageName.slice('boot/vmlinuz-'.length);
  const [image = Buffer.alloc(0)] = await files.read([imageName]);
  const modules = await readModules(files, release, wantedModules);
  return { release, image, moduleEntries: moduleEntries(release, modules) };
}

async function readModules(
  files: PackageFiles,
  release: string,
  wanted: readonly string[],
): Promise<Map<string, KernelModule>> {
  // Debian 13 moved /lib into /usr and compresses modules; 12 does neither.
  const pathPattern = new RegExp(`^(?:usr/)?lib/modules/${escapeRegExp(release)}/.*?([^/]+)\\.ko(?:\\.xz)?$`);
  const pathOf = new Map(files.names.flatMap((path) => entryOf(pathPattern.exec(path), path)));
  const builtIn = await builtInModules(files, release);
  const modules = new Map<string, KernelModule>();
  for (let names = wanted.map(plainName); names.length > 0; ) {
    const missing = [...new Set(names)].filter((name) => !modules.has(name) && !builtIn.has(name));
    const paths = missing.map((name) => {
      const path = pathOf.get(name);
      if (path !== undefined) return path;
      throw buildError('guest_kernel_unsuitable', `the kernel ${release} has no module ${name}`);
    });
    const contents = paths.length > 0 ? await files.read(paths) : [];
    for (const [index, content] of contents.entries()) {
      const file = (paths[index] ?? '').replace(/^.*\//, '').replace(/\.xz$/, '');
      modules.set(missing[index] ?? '', { file, content, depends: dependsOf(content) });
    }
    names = missing.flatMap((name) => modules.get(name)?.depends ?? []);
  }
  return modules;
}

async function builtInModules(files: PackageFiles, release: string): Promise<Set<string>> {
  const index = files.names.find((name) => name.endsWith(`/modules/${release}/modules.builtin`));
  if (index === undefined) return new Set();
  const [content] = await files.read([index]);
  const names = (content?.toString('latin1') ?? '').matchAll(/([^/\n]+)\.ko$/gm);
  return new Set(Array.from(names, ([, name = '']) => plainName(name)));
}

/** `depends=a,b` of the module's section ".modinfo", in which strings end with a NUL. */
function dependsOf(content: Buffer): string[] {
  const list = /(?:^|\0)depends=([\w,-]*)\0/.exec(content.toString('latin1'))?.[1] ?? '';
  return list.split(',').filter(Boolean).map(plainName);
}

/**
 * The modules and `modules.dep`: for each module what must be loaded for it, the nearest first (depmod(8)). All modules
 * stand in one folder, so that a file's name is its path.
 */
function moduleEntries(release: string, modules: ReadonlyMap<string, KernelModule>): CpioEntry[] {
  const folder = `lib/modules/${release}`;
  const sorted = [...modules].sort(([a], [b]) => (a < b ? -1 : 1));
  const index = sorted.map(([name, { file }]) => {
    const needed = allDependencies(name, modules).map((dependency) => modules.get(dependency)?.file ?? '');
    return `${[`${file}:`, ...needed].join(' ')}\n`;
  });
  return [
    { kind: 'directory', name: 'lib', mode: 0o755 },
    { kind: 'directory', name: 'lib/modules', mode: 0o755 },
    { kind: 'directory', name: folder, mode: 0o755 },
    { kind: 'file', name: `${folder}/modules.dep`, mode: 0o644, content: Buffer.from(index.join('')) },
    ...sorted.map(
      ([, { file, content }]): CpioEntry => ({
        kind: 'file',
        name: `${folder}/${file}`,
        mode: 0o644,
        content,
      }),
    ),
  ];
}

/** Every module stands after all that need it. */
function allDependencies(name: string, modules: ReadonlyMap<string, KernelModule>): string[] {
  const ordered: string[] = [];
  const visit = (current: string) => {
    for (const dependency of modules.get(current)?.depends ?? []) {
      if (!modules.has(dependency)) continue;
      if (!ordered.includes(dependency)) visit(dependency);
    }
    if (current !== name && !ordered.includes(current)) ordered.push(current);
  };
  visit(name);
  return ordered.reverse();
}

/** The kernel takes "-" and "_" in a module's name for the same. */
const plainName = (name: string): string => name.replaceAll('-', '_');
const entryOf = (match: RegExpExecArray | null, path: string): [string, string][] =>
  match?.[1] === undefined ? [] : [[plainName(match[1]), path]];
const escapeRegExp = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
