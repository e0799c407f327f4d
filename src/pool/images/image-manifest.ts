import { messageOf } from '../../base/index.ts';
import { poolError } from '../errors.ts';
import { type ImageFile, type ImageManifest, imageManifestSchema } from '../schema.ts';

export const MANIFEST = 'image.json';

/** Every file of an image but its manifest. */
export const filesOf = ({ kernel, initrd, disks = [] }: ImageManifest): ImageFile[] => [
  kernel,
  ...initrd,
  ...disks,
];

/** With one layer the layer itself; with more, the file into which they were joined (no manifest can name it). */
export const initrdFile = (manifest: ImageManifest): string =>
  manifest.initrd.length === 1 && manifest.initrd[0] ? manifest.initrd[0].file : '.initrd';

/** @param where to call it in messages. @throws `image_invalid` */
export function parseManifest(octets: Uint8Array, where: string): ImageManifest {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(octets));
  } catch (cause) {
    throw poolError('image_invalid', `${where} is not JSON: ${messageOf(cause)}`, cause);
  }
  const result = imageManifestSchema.safeParse(value);
  if (!result.success) {
    const faults = result.error.issues.map(
      ({ path, message }) => `${path.join('.') || 'manifest'}: ${message}`,
    );
    throw poolError('image_invalid', `${where} is not a manifest: ${faults.join('; ')}`);
  }
  const names = filesOf(result.data).map(({ file }) => file);
  if (new Set([...names, MANIFEST]).size !== names.length + 1) {
    throw poolError('image_invalid', `${where} names a file twice`);
  }
  return result.data;
}
