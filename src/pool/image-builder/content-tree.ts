import type { Dirent } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { formatBytes, messageOf } from '../../base/index.ts';
import type { CpioEntry } from './cpio.ts';
import { buildError } from './errors.ts';

/** The content is held in the guest's memory: more than this belongs on a disk or into a cache. */
const CONTENT_LIMIT_BYTES = 2 ** 30;
const CONTENT_LIMIT_ENTRIES = 100_000;

export interface ContentTree {
  readonly entries: readonly CpioEntry[];
  readonly sizeBytes: number;
}

/**
 * A folder of content as members of an archive, below `root`. Of a file's permissions only "may be executed" counts; owner
 * and times do not, so that a fresh checkout gives the same archive.
 *
 * @throws `content_invalid` for what is neither a regular file nor a folder: a symbolic link would lead to something else in
 *   the guest than on this machine. `content_too_large` above 1 GiB or 100,000 files and folders.
 */
export async function readContentTree(
  directory: string,
  root: string,
  signal?: AbortSignal,
): Promise<ContentTree> {
  const entries: CpioEntry[] = [{ kind: 'directory', name: root, mode: 0o755 }];
  let totalBytes = 0;
  // Folders that wait, not a recursion: a tree may be deeper than the stack.
  const folders = [{ path: directory, name: root }];
  for (let folder = folders.pop(); folder; folder = folders.pop()) {
    signal?.throwIfAborted();
    for (const item of await readFolder(folder.path)) {
      const path = join(folder.path, item.name);
      const name = `${folder.name}/${item.name}`;
      if (item.name.includes('\ufffd')) throw buildError('content_invalid', `${path}: the name is not UTF-8`);
      if (entries.length >= CONTENT_LIMIT_ENTRIES) throw tooLarge(directory);
      if (item.isDirectory()) {
        entries.push({ kind: 'directory', name, mode: 0o755 });
        folders.push({ path, name });
        continue;
      }
      if (!item.isFile()) throw buildError('content_invalid', `${path} is ${kindOf(item)}; ${WHAT_IS_TAKEN}`);
      const { size: sizeBytes, mode } = await stat(path);
      totalBytes += sizeBytes;
      if (totalBytes > CONTENT_LIMIT_BYTES) throw tooLarge(directory);
      const permissions = (mode & 0o111) === 0 ? 0o644 : 0o755;
      entries.push({ kind: 'file', name, mode: permissions, content: { path, sizeBytes } });
    }
  }
  return { entries, sizeBytes: totalBytes };
}

const WHAT_IS_TAKEN = 'an image takes regular files and folders only';

const kindOf = (item: Dirent): string => (item.isSymbolicLink() ? 'a symbolic link' : 'a special file');

async function readFolder(path: string): Promise<Dirent[]> {
  try {
    return await readdir(path, { withFileTypes: true });
  } catch (error) {
    throw buildError('content_invalid', `the folder ${path} cannot be read: ${messageOf(error)}`, error);
  }
}

const tooLarge = (directory: string) =>
  buildError(
    'content_too_large',
    `${directory} is more than an image takes: ${formatBytes(CONTENT_LIMIT_BYTES)} in ` +
      `${CONTENT_LIMIT_ENTRIES.toLocaleString('en')} files and folders`,
  );
