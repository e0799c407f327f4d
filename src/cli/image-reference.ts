import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { z } from 'zod';
import { defineErrors } from '../base/index.ts';
import { imageSchema } from '../pool/schema.ts';
import type { ControlClient } from './control-client.ts';
import { importFolder } from './image.ts';

const cliError = defineErrors({ image_ambiguous: 409 });

/** What an image is called by people, as the API takes it: a folder is imported, a name or a digest's beginning looked up. */
export async function imageReference(client: ControlClient, image: string, data: string): Promise<string> {
  if (/^(?:https?|file):\/\//.test(image)) return image;
  const images = await client.get('/api/v1/images', z.array(imageSchema));
  const wanted = image.replace(/^sha256:/, '');
  const found = images.filter(
    ({ name, digest }) =>
      name === image || (/^[0-9a-f]{8,64}$/.test(wanted) && digest.startsWith(`sha256:${wanted}`)),
  );
  const [first] = found;
  if (found.length > 1) {
    throw cliError('image_ambiguous', `${found.length} images are meant by ${image}; name one by its digest`);
  }
  if (first) return first.digest;
  const isFolder = await stat(resolve(image, 'image.json')).then(
    () => true,
    () => false,
  );
  return isFolder ? importFolder(image, data) : image;
}
