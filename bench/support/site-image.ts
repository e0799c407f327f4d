import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { packagePath } from '../../src/platform/process/index.ts';
import { orilla } from './edge-under-test.ts';

/** What the guests of the benchmarks serve. */
export const SITE_FOLDER = packagePath('examples', 'origin', 'site');

/** The image that `orilla image build web` makes of the example site, in `folder`. */
export async function buildSiteImage(
  folder: string,
  name: string,
  signal: AbortSignal,
): Promise<{ readonly digest: string; readonly sizeBytes: number }> {
  await orilla(
    [
      ...['image', 'build', 'web', '--name', name, '--content', SITE_FOLDER, '--out', folder],
      // Keeps the Debian packages between runs.
      ...['--data', packagePath('.tools', 'test-cache')],
    ],
    signal,
  );
  const octets = await readFile(join(folder, 'image.json'));
  const { kernel, initrd } = JSON.parse(octets.toString()) as {
    kernel: { sizeBytes: number };
    initrd: { sizeBytes: number }[];
  };
  return {
    digest: `sha256:${createHash('sha256').update(octets).digest('hex')}`,
    sizeBytes: [kernel, ...initrd].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
  };
}
