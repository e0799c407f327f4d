import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { CodedError, defineErrors, formatBytes, hasCode, systemClock, systemRandom } from '../base/index.ts';
import { type DataFolder, dataFolder, makeDataFolder } from '../edge/index.ts';
import { packagePath } from '../platform/process/index.ts';
import {
  buildWebImage,
  directorySource,
  type ImageSource,
  ImageStore,
  type StoredImage,
  urlSource,
} from '../pool/index.ts';
import { imageDigestSchema, vmSchema } from '../pool/schema.ts';
import { ControlClient } from './control-client.ts';
import { ProgressLine, print, printTable } from './output.ts';

const cliError = defineErrors({
  wrong_usage: 400,
  image_in_use: 409,
  image_ambiguous: 409,
  image_not_found: 404,
});

async function openStore(data: DataFolder): Promise<ImageStore> {
  await makeDataFolder(data);
  return ImageStore.open({ clock: systemClock, random: systemRandom }, data.images);
}

interface BuildOptions {
  readonly out: string;
  readonly name: string;
  readonly content?: string;
  readonly data: string;
}

export async function buildImage(recipe: string, options: BuildOptions): Promise<void> {
  if (recipe !== 'web') throw cliError('wrong_usage', `there is no recipe "${recipe}"; there is "web"`);
  const progress = new ProgressLine();
  const signal = interruption();
  const data = dataFolder(resolve(options.data));
  await makeDataFolder(data);
  try {
    await buildWebImage(
      { random: systemRandom },
      {
        name: options.name,
        recipeDirectory: packagePath('guest', 'web'),
        ...(options.content !== undefined && { contentDirectory: resolve(options.content) }),
        outputDirectory: resolve(options.out),
        cacheDirectory: data.cache,
        signal,
        onProgress: ({ label, done, total }) => progress.show(label, done, total),
      },
    );
    progress.end();
    const digest = createHash('sha256')
      .update(await readFile(join(options.out, 'image.json')))
      .digest('hex');
    print(`sha256:${digest}  ${options.out}`);
  } finally {
    progress.end();
  }
}

/** Imports the image in a folder and gives its digest. */
export async function importFolder(folder: string, data: string): Promise<string> {
  const image = await importShown(folder, directorySource(await folderOf(folder)), { data });
  return image.digest;
}

export async function importImage(source: string, options: { data: string; digest?: string }): Promise<void> {
  if (options.digest !== undefined && !imageDigestSchema.safeParse(options.digest).success) {
    throw cliError(
      'wrong_usage',
      `--digest: got "${options.digest}", expected sha256: and 64 hexadecimal digits`,
    );
  }
  if (/^https?:\/\//.test(source) && !URL.canParse(source)) {
    throw cliError('wrong_usage', `got "${source}", expected a folder or the URL of one`);
  }
  const from = /^https?:\/\//.test(source)
    ? urlSource(systemClock, new URL(source))
    : directorySource(await folderOf(source));
  const image = await importShown(source, from, options);
  print(`${image.digest}  ${image.name}  ${formatBytes(image.sizeBytes)}`);
}

/** Imports an image and shows how far that is. */
async function importShown(
  name: string,
  source: ImageSource,
  { data, digest }: { data: string; digest?: string },
): Promise<StoredImage> {
  const store = await openStore(dataFolder(resolve(data)));
  const progress = new ProgressLine();
  try {
    return await store.import(source, {
      expectedDigest: digest,
      signal: interruption(),
      isTrusted: true,
      onProgress: (done, total) => progress.show(`importing ${name}`, done, total),
    });
  } finally {
    progress.end();
  }
}

export async function listImages(options: { data: string; json?: boolean }): Promise<void> {
  const store = await openStore(dataFolder(resolve(options.data)));
  const images = (await store.list()).map(({ digest, name, architecture, sizeBytes, storedAtMs }) => ({
    digest,
    name,
    architecture,
    sizeBytes,
    storedAtMs,
  }));
  printTable(
    images,
    {
      name: (image) => image.name,
      digest: (image) => image.digest.slice(0, 19),
      size: (image) => formatBytes(image.sizeBytes),
      architecture: (image) => image.architecture,
      stored: (image) => new Date(image.storedAtMs).toISOString().slice(0, 16).replace('T', ' '),
    },
    {
      ...options,
      empty: 'no images: make one with "orilla image build", bring one with "orilla image import"',
    },
  );
}

export async function removeImage(digest: string, options: { data: string }): Promise<void> {
  const wanted = digest.replace(/^sha256:/, '');
  if (!/^[0-9a-f]{8,64}$/.test(wanted)) {
    throw cliError('wrong_usage', `got "${digest}", expected 8 to 64 hexadecimal digits of a digest`);
  }
  const store = await openStore(dataFolder(resolve(options.data)));
  const matches = (await store.list()).filter((image) => image.digest.startsWith(`sha256:${wanted}`));
  const [image] = matches;
  if (!image) throw cliError('image_not_found', `no image ${digest} is stored here`);
  if (matches.length > 1) throw cliError('image_ambiguous', `${matches.length} images begin with ${digest}`);
  const user = (await runningVms(options.data)).find((vm) =>
    [vm, vm.next, vm.previous].some((version) => version?.imageDigest === image.digest),
  );
  if (user)
    throw cliError('image_in_use', `the VM ${user.name} needs it; "orilla vm stop ${user.name}" first`);
  await store.remove(image.digest);
  print(`removed ${image.digest}`);
}

/** None when no Orilla runs on the folder. */
async function runningVms(data: string): Promise<z.output<typeof vmSchema>[]> {
  try {
    return await new ControlClient(data).get('/api/v1/vms', z.array(vmSchema));
  } catch (error) {
    if (hasCode(error, 'not_running')) return [];
    throw error;
  }
}

async function folderOf(source: string): Promise<string> {
  const folder = resolve(source);
  await stat(join(folder, 'image.json')).catch((cause: unknown) => {
    throw cliError('image_not_found', `${source} holds no image.json`, cause);
  });
  return folder;
}

/** Aborts at Ctrl-C or SIGTERM, so that half-done work is cleaned away. */
function interruption(): AbortSignal {
  const interrupted = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => interrupted.abort(new CodedError('interrupted', 499, `ended by ${signal}`)));
  }
  return interrupted.signal;
}
