import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { DebianPackage, RunCommand } from './debian-package.ts';

const UNPACK_TIMEOUT_MS = 300_000;

/** The files of a Debian package, unpacked while `use` runs. Only what is asked for reaches the disk as a file. */
export class PackageFiles {
  /** Names of regular files, without the leading "./". */
  readonly names: readonly string[];
  readonly #run: RunCommand;
  readonly #folder: string;
  readonly #signal: AbortSignal | undefined;

  private constructor(run: RunCommand, folder: string, names: string[], signal: AbortSignal | undefined) {
    this.#run = run;
    this.#folder = folder;
    this.names = names;
    this.#signal = signal;
  }

  /** Opens the package in a temporary folder beside it, which is removed afterwards. */
  static async with<Result>(
    deps: { run: RunCommand },
    debianPackage: DebianPackage,
    use: (files: PackageFiles) => Promise<Result>,
    signal?: AbortSignal,
  ): Promise<Result> {
    const { run } = deps;
    const folder = await mkdtemp(`${debianPackage.path}.unpacked-`);
    const options = { timeoutMs: UNPACK_TIMEOUT_MS, ...(signal ? { signal } : {}) };
    try {
      const tar = join(folder, 'data.tar');
      await run('dpkg-deb', ['--fsys-tarfile', debianPackage.path], { ...options, stdoutFile: tar });
      const { stdout } = await run('tar', ['--list', '--file', tar], options);
      const names = stdout
        .split('\n')
        .flatMap((line) => (/[^/]$/.test(line) ? line.replace(/^\.\//, '') : []));
      return await use(new PackageFiles(run, folder, names, signal));
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  /** The octets of some of the package's files, in the order of `names`. Those that end in ".xz" come decompressed. */
  async read(names: readonly string[]): Promise<Buffer[]> {
    const options = { timeoutMs: UNPACK_TIMEOUT_MS, ...(this.#signal ? { signal: this.#signal } : {}) };
    const target = ['--file', join(this.#folder, 'data.tar'), '--directory', this.#folder];
    const members = names.map((name) => `./${name}`);
    await this.#run('tar', ['--extract', '--no-same-owner', ...target, '--', ...members], options);
    const paths = names.map((name) => join(this.#folder, name));
    const compressed = paths.filter((path) => path.endsWith('.xz'));
    if (compressed.length > 0) await this.#run('xz', ['--decompress', '--', ...compressed], options);
    return Promise.all(paths.map((path) => readFile(path.replace(/\.xz$/, ''))));
  }
}
