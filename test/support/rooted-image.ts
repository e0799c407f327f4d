import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { packagePath } from '../../src/platform/process/index.ts';
import { cpioArchive } from '../../src/pool/image-builder/cpio.ts';
import { frameSender } from './frame-sender.ts';
import { variantOf, type WebImage, webImage } from './web-image.ts';

/** Runs what is sent to it as a shell script. */
const RUN = `#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
exec sh 2>&1
`;

/**
 * The image *web* as an attacker would have it: its CGI programs are root, `POST /cgi-bin/run` takes any script, and there
 * is a program that sends frames.
 *
 * @param change of the guest's init, beyond that.
 */
export async function rootedImage(
  folder: string,
  change: (init: string) => string = (init) => init,
): Promise<WebImage> {
  const image = await webImage();
  const init = await readFile(packagePath('guest', 'web', 'init'), 'utf8');
  const rooted = init.replace(' -u www:www', '');
  if (rooted === init) throw new Error("the guest's init no longer says as whom its server runs");
  const chunks: Buffer[] = [];
  const layer = cpioArchive([
    { kind: 'file', name: 'init', mode: 0o755, content: Buffer.from(change(rooted)) },
    { kind: 'file', name: 'www/cgi-bin/run', mode: 0o755, content: Buffer.from(RUN) },
    { kind: 'file', name: 'bin/send-frames', mode: 0o755, content: frameSender() },
  ]);
  for await (const chunk of layer) chunks.push(Buffer.from(chunk));
  const octets = Buffer.concat(chunks);
  const file = {
    file: 'rooted.cpio',
    sizeBytes: octets.length,
    sha256: createHash('sha256').update(octets).digest('hex'),
  };
  const variant = await variantOf(image, folder, (manifest) => ({
    ...manifest,
    initrd: [...manifest.initrd, file],
  }));
  await writeFile(join(folder, file.file), octets);
  return variant;
}
