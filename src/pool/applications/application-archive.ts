/**
 * An application as one file: a tar archive (`tar-header.ts`) that begins with `application.json`. It is read whole here
 * before anything of it goes into a guest, whose own tar is not as strict.
 * @module
 */
import { type FileHandle, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { formatBytes, messageOf } from '../../base/index.ts';
import { poolError } from '../errors.ts';
import { readContentTree } from '../image-builder/content-tree.ts';
import type { CpioEntry } from '../image-builder/cpio.ts';
import {
  APPLICATION_MANIFEST,
  APPLICATION_MANIFEST_LIMIT_BYTES,
  type ApplicationManifest,
  parseApplicationManifest,
} from './application-manifest.ts';
import { BLOCK_BYTES, parseTarHeader, type TarMember, tarHeader } from './tar-header.ts';

export const ARCHIVE_LIMIT_BYTES = 64 * 2 ** 20;
const MEMBERS_LIMIT = 10_000;

/**
 * Reads an archive to its end and gives its manifest.
 *
 * @throws `application_invalid`
 */
export async function readApplicationArchive(file: FileHandle): Promise<ApplicationManifest> {
  const { size } = await file.stat();
  if (size > ARCHIVE_LIMIT_BYTES) throw invalid(`it is larger than ${formatBytes(ARCHIVE_LIMIT_BYTES)}`);
  const names = new Map<string, TarMember['kind']>();
  let manifest: ApplicationManifest | undefined;
  let at = 0;
  for (;;) {
    const member = parseTarHeader(await readAt(file, at, BLOCK_BYTES));
    at += BLOCK_BYTES;
    if (!member) break;
    if (member.name === '.') continue;
    if (!manifest) {
      if (member.name !== APPLICATION_MANIFEST)
        throw invalid(`it does not begin with ${APPLICATION_MANIFEST}`);
      if (member.sizeBytes > APPLICATION_MANIFEST_LIMIT_BYTES) throw invalid(`${member.name} is too long`);
      manifest = parseApplicationManifest(await readAt(file, at, member.sizeBytes));
    }
    if (names.has(member.name)) throw invalid(`${JSON.stringify(member.name)} is in it twice`);
    if (foldersAbove(member.name).some((folder) => names.get(folder) === 'file')) {
      throw invalid(`${JSON.stringify(member.name)} is below a file`);
    }
    names.set(member.name, member.kind);
    if (names.size > MEMBERS_LIMIT) throw invalid(`it has more than ${MEMBERS_LIMIT} files and folders`);
    at += padded(member.sizeBytes);
  }
  if (!manifest) throw invalid('it is empty');
  const rest = size >= at ? await readAt(file, at, size - at) : Buffer.alloc(1, 1);
  if (rest.some((octet) => octet !== 0)) throw invalid('it does not end where it should');
  checkServed(manifest, names);
  return manifest;
}

/**
 * A folder with an `application.json` as an archive: the same octets for the same files.
 *
 * @throws `application_invalid`, `content_invalid` for what is neither file nor folder, `content_too_large`.
 */
export async function packApplication(
  directory: string,
): Promise<{ readonly manifest: ApplicationManifest; readonly archive: Buffer }> {
  const manifest = parseApplicationManifest(await readManifest(directory));
  const { entries, sizeBytes } = await readContentTree(directory, ROOT);
  if (sizeBytes > ARCHIVE_LIMIT_BYTES) throw invalid(`it is larger than ${formatBytes(ARCHIVE_LIMIT_BYTES)}`);
  const parts: Buffer[] = [];
  for (const entry of entries.slice(1).sort(manifestFirst)) {
    const name = entry.name.slice(ROOT.length + 1);
    const isFile = entry.kind === 'file';
    const content = isFile && 'path' in entry.content ? await readFile(entry.content.path) : Buffer.alloc(0);
    const isExecutable = isFile && (entry.mode & 0o111) !== 0;
    const member = {
      name,
      kind: isFile ? 'file' : 'folder',
      sizeBytes: content.length,
      isExecutable,
    } as const;
    parts.push(tarHeader(member), content, Buffer.alloc(padded(content.length) - content.length));
  }
  return { manifest, archive: Buffer.concat([...parts, Buffer.alloc(2 * BLOCK_BYTES)]) };
}

/** Any name will do: it is not in the archive. */
const ROOT = 'root';

function manifestFirst(a: CpioEntry, b: CpioEntry): number {
  const rank = ({ name }: CpioEntry) => Number(name !== `${ROOT}/${APPLICATION_MANIFEST}`);
  return rank(a) - rank(b) || (a.name < b.name ? -1 : 1);
}

async function readManifest(directory: string): Promise<Buffer> {
  const path = join(directory, APPLICATION_MANIFEST);
  return readFile(path).catch((error: unknown) => {
    throw poolError('application_invalid', `${path} cannot be read: ${messageOf(error)}`, error);
  });
}

const padded = (sizeBytes: number): number => Math.ceil(sizeBytes / BLOCK_BYTES) * BLOCK_BYTES;

async function readAt(file: FileHandle, at: number, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, at);
  if (bytesRead < length) throw invalid('it ends too early');
  return buffer;
}

function foldersAbove(name: string): string[] {
  const parts = name.split('/').slice(0, -1);
  return parts.map((_, depth) => parts.slice(0, depth + 1).join('/'));
}

function checkServed({ static: folder }: ApplicationManifest, names: ReadonlyMap<string, string>): void {
  if (folder === undefined || folder === '.' || names.get(folder) === 'folder') return;
  if ([...names.keys()].some((name) => name.startsWith(`${folder}/`))) return;
  throw invalid(`there is no folder ${JSON.stringify(folder)} in it`);
}

const invalid = (what: string) => poolError('application_invalid', `not an application: ${what}`);
