import { readFile } from 'node:fs/promises';
import { messageOf } from '../base/index.ts';
import { configError } from '../platform/config/index.ts';
import { readApplicationKey } from '../pool/index.ts';
import type { EdgeConfig } from './config.ts';

/**
 * The keys that the configuration names for the applications of its origins: by origin, SPKI in PEM.
 *
 * @throws `config_invalid`
 */
export async function readApplicationKeyFiles({
  gateway,
}: EdgeConfig): Promise<ReadonlyMap<string, readonly string[]>> {
  const keys = new Map<string, readonly string[]>();
  for (const [name, { offload }] of Object.entries(gateway.origins)) {
    const files = offload?.applicationKeys ?? [];
    keys.set(name, await Promise.all(files.map((file) => readKeyFile(name, file))));
  }
  return keys;
}

async function readKeyFile(origin: string, file: string): Promise<string> {
  try {
    return readApplicationKey(await readFile(file, 'utf8')).publicKey;
  } catch (error) {
    throw configError(
      'config_invalid',
      `gateway.origins.${origin}.offload.applicationKeys: ${file}: ${messageOf(error)}`,
      error,
    );
  }
}
