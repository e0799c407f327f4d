import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { messageOf, type Random, systemCode } from '../base/index.ts';
import { newToken } from '../trust/index.ts';
import { gatewayError } from './errors.ts';

/**
 * The token of an origin, out of the file that holds it; made when there is none yet, readable by its owner alone.
 * The operator hands the file's content to the origin's provider.
 *
 * @throws `token_file_unusable`
 */
export async function readOrMakeToken(
  random: Random,
  path: string,
): Promise<{ token: string; isNew: boolean }> {
  try {
    await mkdir(dirname(path), { recursive: true });
    const token = newToken(random);
    await writeFile(path, `${token}\n`, { flag: 'wx', mode: 0o600 });
    return { token, isNew: true };
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') {
      throw gatewayError(
        'token_file_unusable',
        `cannot write the token file ${path}: ${messageOf(error)}`,
        error,
      );
    }
  }
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw gatewayError(
      'token_file_unusable',
      `cannot read the token file ${path}: ${messageOf(error)}`,
      error,
    );
  });
  const token = text.trim();
  if (!/^[A-Za-z0-9._~+/-]{20,512}=*$/.test(token)) {
    throw gatewayError(
      'token_file_unusable',
      `${path}: expected one line with a token of 20 to 512 letters and digits`,
    );
  }
  return { token, isNew: false };
}
