import { basename } from 'node:path';
import type { CpioEntry } from './cpio.ts';
import type { DebianPackages, RunCommand } from './debian-package.ts';
import { elfNeeds } from './elf-needs.ts';
import { buildError } from './errors.ts';
import { PackageFiles } from './package-files.ts';
import type { PackageRecord } from './package-record.ts';

/** A program of a package as members of an archive, with all that has to be there for it to be loaded. */
export interface PackageProgram {
  readonly entries: readonly CpioEntry[];
  /** The package, and those that its libraries came from. */
  readonly packages: readonly PackageRecord[];
}

interface OpenedPackage {
  readonly record: PackageRecord;
  readonly names: readonly string[];
}

/** Programs that need more are not for a small guest. */
const PACKAGE_LIMIT = 32;

/**
 * Takes a program out of a Debian package. Libraries are looked for in the packages that it depends on, then in those that
 * these depend on, until all are found; they go to `/lib`, where the loader looks without being told.
 *
 * @param path of the program, in the package and in the archive.
 * @throws `package_damaged` when a library is in none of them.
 */
export async function readPackageProgram(
  deps: { run: RunCommand; packages: DebianPackages },
  name: string,
  path: string,
  signal?: AbortSignal,
): Promise<PackageProgram> {
  const opened = new Map<string, OpenedPackage>();
  const used = new Set<PackageRecord>();
  const found = new Map<string, Buffer>();
  /** By file name, where it goes. */
  const missing = new Map([[basename(path), path]]);
  const take = (place: string, octets: Buffer) => {
    found.set(place, octets);
    missing.delete(basename(place));
    const { interpreter, libraries } = elfNeeds(octets, place);
    const places = libraries.map((library) => `lib/${library}`);
    // The loader is also a library of some: its own place counts.
    if (interpreter !== undefined) places.unshift(interpreter.slice(1));
    const known = new Set([...found.keys(), ...missing.values()].map((one) => basename(one)));
    for (const wanted of places) if (!known.has(basename(wanted))) missing.set(basename(wanted), wanted);
  };

  let wanted = [name];
  while (missing.size > 0) {
    for (const one of wanted) opened.set(one, await openPackage(deps, one, signal));
    let isNew = false;
    for (const { record, names } of opened.values()) {
      const held = [...missing].filter(([file]) => names.some((each) => basename(each) === file));
      if (held.length === 0) continue;
      const octets = await readFiles(
        deps,
        record,
        held.map(([file]) => file),
        signal,
      );
      for (const [index, [, place]] of held.entries()) take(place, octets[index] ?? Buffer.alloc(0));
      used.add(record);
      isNew = true;
    }
    const depends = [...opened.values()].flatMap(({ record }) => record.depends);
    wanted = isNew ? [] : [...new Set(depends)].filter((one) => one.startsWith('lib') && !opened.has(one));
    if (isNew || (wanted.length > 0 && opened.size + wanted.length <= PACKAGE_LIMIT)) continue;
    throw buildError(
      'package_damaged',
      `${name} needs ${[...missing.keys()].join(', ')}, and no package that it depends on has it`,
    );
  }
  const entries = [...found].map(([place, content]) => ({
    kind: 'file' as const,
    name: place,
    mode: 0o755,
    content,
  }));
  return { entries, packages: [...used] };
}

async function openPackage(
  { run, packages }: { run: RunCommand; packages: DebianPackages },
  name: string,
  signal: AbortSignal | undefined,
): Promise<OpenedPackage> {
  const record = await packages.find(name, signal);
  const fetched = await packages.fetch(record, signal);
  return PackageFiles.with({ run }, fetched, async ({ names }) => ({ record, names }), signal);
}

/** Files by their names. A library's name is a link in the package, to the file with the whole version in its name. */
async function readFiles(
  { run, packages }: { run: RunCommand; packages: DebianPackages },
  record: PackageRecord,
  wanted: readonly string[],
  signal: AbortSignal | undefined,
): Promise<Buffer[]> {
  const read = async (files: PackageFiles) => {
    const paths = wanted.map((file) => files.names.find((path) => basename(path) === file) ?? file);
    const targets = files.names.filter((path) => paths.some((link) => path.startsWith(`${link}.`)));
    return (await files.read([...paths, ...targets])).slice(0, paths.length);
  };
  return PackageFiles.with({ run }, await packages.fetch(record, signal), read, signal);
}
