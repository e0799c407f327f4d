import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ImageManifest } from '../../src/pool/schema.ts';

const sha256 = (octets: string | Buffer) => createHash('sha256').update(octets).digest('hex');

/** Writes an image that no machine could boot but every rule of the format allows. Returns its digest. */
export async function writeImageFolder(
  folder: string,
  options: {
    readonly name?: string;
    readonly files?: Readonly<Record<string, string>>;
    readonly change?: (manifest: ImageManifest) => object;
  } = {},
): Promise<string> {
  const files = options.files ?? { vmlinuz: 'a kernel', 'base.cpio': 'a layer' };
  await mkdir(folder, { recursive: true });
  const entries = Object.entries(files).map(([file, content]) => ({
    file,
    sizeBytes: Buffer.byteLength(content),
    sha256: sha256(content),
  }));
  const [kernel, ...initrd] = entries;
  if (!kernel) throw new Error('an image has a kernel');
  const manifest: ImageManifest = {
    format: 'orilla.image/1',
    name: options.name ?? 'test',
    architecture: 'x86_64',
    kernel,
    initrd,
    commandLine: '',
    http: { port: 80, readyPath: '/' },
    minimumMemoryBytes: 2 ** 27,
    sources: {},
  };
  const text = JSON.stringify(options.change?.(manifest) ?? manifest);
  await Promise.all(Object.entries(files).map(([file, content]) => writeFile(join(folder, file), content)));
  await writeFile(join(folder, 'image.json'), text);
  return `sha256:${sha256(text)}`;
}
