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
  const found = new Map<string, Buffer>();
  /** By file name, where it goes. */
  const missing = new Map([[basename(path), path]]);
  const take = (place: string, octets: Buffer) => {
    if (found.has(place)) return;
    found.set(place, octets);
    missing.delete(basename(place));
    const { interpreter, libraries } = elfNeeds(octets, place);
    const places = libraries.map((library) => `lib/${library}`);
    // The loader is also a library of some: its own place counts.
    if (interpreter !== undefined) places.unshift(interpreter.slice(1));
    const known = new Set([...found.keys(), ...missing.values()].map((one) => basename(one)));
    for (const wanted of places) if (!known.has(basename(wanted))) missing.set(basename(wanted), wanted);
  };

  /** Each package that was opened, and the names of the files in it. */
  const opened = new Map<string, readonly string[]>();
  const used = new Map<string, PackageRecord>();
  const waiting = new Set([name]);
  while (missing.size > 0) {
    const next = holder(opened, missing) ?? likeliest(waiting, missing);
    if (next === undefined || opened.size === PACKAGE_LIMIT) {
      const files = [...missing.keys()].join(', ');
      throw buildError('package_damaged', `${name} needs ${files}, and no package that it depends on has it`);
    }
    const record = await deps.packages.find(next, signal);
    const fetched = await deps.packages.fetch(record, signal);
    const read = (files: PackageFiles) => readFiles(files, missing);
    const { names, files } = await PackageFiles.with(deps, fetched, read, signal);
    for (const { place, octets } of files) take(place, octets);
    if (files.length > 0) used.set(next, record);
    opened.set(next, names);
    waiting.delete(next);
    for (const one of record.depends) if (one.startsWith('lib') && !opened.has(one)) waiting.add(one);
  }
  const entries = [...found].map(([place, content]) => ({
    kind: 'file' as const,
    name: place,
    mode: 0o755,
    content,
  }));
  return { entries, packages: [...used.values()] };
}

/** A package that was opened and has what turned out to be missing only later. */
function holder(
  opened: ReadonlyMap<string, readonly string[]>,
  missing: ReadonlyMap<string, string>,
): string | undefined {
  return [...opened].find(([, names]) => names.some((path) => missing.has(basename(path))))?.[0];
}

/** A library's package mostly has its name: each that need not be opened saves a second. */
function likeliest(waiting: ReadonlySet<string>, missing: ReadonlyMap<string, string>): string | undefined {
  const stems = [...missing.keys()].map((file) => file.replace(/\.so\b.*$/, ''));
  const all = [...waiting];
  return all.find((one) => stems.some((stem) => one.startsWith(stem))) ?? all[0];
}

/** What of `missing` is in the package. A library's name is a link there, to the file with its whole version in its name. */
async function readFiles(files: PackageFiles, missing: ReadonlyMap<string, string>) {
  const { names } = files;
  const held = names.filter((path) => missing.has(basename(path)));
  const targets = names.filter((path) => held.some((link) => path.startsWith(`${link}.`)));
  const octets = held.length === 0 ? [] : await files.read([...held, ...targets]);
  const read = held.map((path, index) => ({
    place: missing.get(basename(path)) ?? path,
    octets: octets[index] ?? Buffer.alloc(0),
  }));
  return { names, files: read };
}
