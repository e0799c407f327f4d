import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** The files of a site as both its servers must give them. */
export class Site {
  /** By path, `/` for the page. */
  readonly #files: ReadonlyMap<string, { readonly content: Buffer; readonly sha256: string }>;

  private constructor(files: ReadonlyMap<string, { content: Buffer; sha256: string }>) {
    this.#files = files;
  }

  static async read(folder: string): Promise<Site> {
    const files = new Map<string, { content: Buffer; sha256: string }>();
    for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name);
      const content = await readFile(path);
      const file = { content, sha256: createHash('sha256').update(content).digest('hex') };
      const name = path.slice(folder.length).replace(/^(?!\/)/, '/');
      files.set(name, file);
      if (name === '/index.html') files.set('/', file);
    }
    return new Site(files);
  }

  /** Paths that begin with `prefix`, in order. */
  paths(prefix: string): string[] {
    return [...this.#files.keys()].filter((path) => path.startsWith(prefix)).sort();
  }

  content(path: string): Buffer | undefined {
    return this.#files.get(path)?.content;
  }

  sha256(path: string): string | undefined {
    return this.#files.get(path)?.sha256;
  }
}
