import { createHash } from 'node:crypto';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { systemClock, systemRandom } from '../../src/base/index.ts';
import { packagePath } from '../../src/platform/process/index.ts';
import { buildWebImage } from '../../src/pool/image-builder/index.ts';
import { directorySource, ImageStore, type StoredImage } from '../../src/pool/index.ts';
import type { ImageManifest } from '../../src/pool/schema.ts';

/** What the guest of the tests serves. Its CGI programs tell of the machine from the inside. */
const CONTENT: Readonly<Record<string, { readonly text: string; readonly mode?: number }>> = {
  'index.html': { text: 'from the VM\n' },
  'large.bin': { text: 'large '.repeat(100_000) },
  'cgi-bin/machine': {
    mode: 0o755,
    text: `#!/bin/sh
read -r name </proc/sys/kernel/hostname
sectors=0
[ ! -r /sys/block/vda/size ] || read -r sectors </sys/block/vda/size
read -r label kib rest </proc/meminfo
printf 'Content-Type: application/json\\r\\n\\r\\n'
printf '{"name":"%s","cpus":%s,"memoryBytes":%s,"diskBytes":%s}\\n' "$name" \\
  "$(grep -c '^processor' /proc/cpuinfo)" $((kib * 1024)) $((sectors * 512))
`,
  },
  // /cgi-bin/reach?10.0.2.2:8080 tells whether a server there takes a connection.
  'cgi-bin/reach': {
    mode: 0o755,
    text: `#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
if nc -w 3 "\${QUERY_STRING%:*}" "\${QUERY_STRING#*:}" </dev/null; then echo reached; else echo 'not reached'; fi
`,
  },
  // Keeps what is posted to it in the guest's memory, and tells it.
  'cgi-bin/memory': {
    mode: 0o755,
    text: `#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
[ "$REQUEST_METHOD" != POST ] || cat >/tmp/memory
cat /tmp/memory
`,
  },
  'cgi-bin/broken': {
    mode: 0o755,
    text: "#!/bin/sh\nprintf 'Status: 500 Broken\\r\\nContent-Type: text/plain\\r\\n\\r\\nbroken\\n'\n",
  },
};

export interface WebImage {
  /** Holds `image.json` and what it names. */
  readonly folder: string;
  readonly digest: string;
  readonly manifest: ImageManifest;
}

/**
 * The image *web* with the content above. Built once and kept in `ORILLA_TEST_CACHE` for all test files, until the recipe,
 * the builder or the content changes.
 */
export async function webImage(): Promise<WebImage> {
  const cacheDirectory = testCache();
  const folder = join(cacheDirectory, `web-${recipeHash()}`);
  if (!existsSync(join(folder, 'image.json'))) {
    const content = await mkdtemp(join(tmpdir(), 'orilla-content-'));
    try {
      await writeContent(content);
      await buildWebImage(
        { random: systemRandom },
        {
          name: 'web',
          contentDirectory: content,
          outputDirectory: folder,
          cacheDirectory,
          recipeDirectory: packagePath('guest', 'web'),
        },
      );
    } finally {
      await rm(content, { recursive: true, force: true });
    }
  }
  return readImage(folder);
}

/** Keeps what is slow to make, between runs too. */
export function testCache(): string {
  const folder = process.env['ORILLA_TEST_CACHE'];
  if (folder === undefined) throw new Error('ORILLA_TEST_CACHE is set by test/support/global-setup.ts');
  return folder;
}

/** The same image with another manifest, in `folder`: one that the guest does not keep to, for example. */
export async function variantOf(
  image: WebImage,
  folder: string,
  change: (manifest: ImageManifest) => object,
): Promise<WebImage> {
  await mkdir(folder, { recursive: true });
  const { kernel, initrd } = image.manifest;
  for (const { file } of [kernel, ...initrd]) await copyFile(join(image.folder, file), join(folder, file));
  await writeFile(join(folder, 'image.json'), JSON.stringify(change(image.manifest)));
  return readImage(folder);
}

/** The image as a store below `folder` holds it. */
export async function storedImage(image: WebImage, folder: string): Promise<StoredImage> {
  const store = await ImageStore.open({ clock: systemClock, random: systemRandom }, folder);
  return store.import(directorySource(image.folder), { signal: new AbortController().signal });
}

async function readImage(folder: string): Promise<WebImage> {
  const octets = await readFile(join(folder, 'image.json'));
  const digest = `sha256:${createHash('sha256').update(octets).digest('hex')}`;
  return { folder, digest, manifest: JSON.parse(octets.toString('utf8')) as ImageManifest };
}

async function writeContent(folder: string): Promise<void> {
  for (const [name, { text, mode = 0o644 }] of Object.entries(CONTENT)) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), text, { mode });
  }
}

function recipeHash(): string {
  const hash = createHash('sha256').update(JSON.stringify(CONTENT));
  const root = packagePath();
  for (const file of globSync(['guest/web/*', 'src/pool/image-builder/*.ts'], { cwd: root }).sort())
    hash.update(file).update(readFileSync(join(root, file)));
  return hash.digest('hex').slice(0, 16);
}
