import { readdir } from 'node:fs/promises';
import { systemCode } from '../../base/index.ts';

/** The names in a folder; none when it is not there, or is no folder. */
export async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return [];
    throw error;
  }
}
