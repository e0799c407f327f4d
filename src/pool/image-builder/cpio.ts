/**
 * Writer of cpio archives in the format "newc", from which Linux unpacks its initial RAM file system.
 *
 * Layout, from the kernel's Documentation/driver-api/early-userspace/buffer-format.rst: for each member
 *
 *     offset  size  field, 8 upper-case hexadecimal digits each after the magic
 *          0     6  "070701"
 *          6     8  inode number            54     8  size of the content
 *         14     8  mode and type           62     8  major, minor of the device that holds it (two fields)
 *         22     8  uid                     78     8  major, minor of a device node (two fields)
 *         30     8  gid                     94     8  length of the name with its NUL
 *         38     8  number of links        102     8  checksum, 0 in this format
 *         46     8  modification time      110        name, NUL, zeros to a multiple of 4; content, zeros likewise
 *
 * and a last one named "TRAILER!!!". Archives may follow each other in one initrd when each is padded to 4 octets; the
 * later one wins.
 *
 * The same members give the same octets always: sorted by name, owned by root, without times, inodes numbered in order.
 * @module
 */
import { createReadStream } from 'node:fs';
import { buildError } from './errors.ts';

/** The name is relative to the archive's root, with "/" between its parts. `mode` holds permissions only. */
export type CpioEntry =
  | { readonly kind: 'directory'; readonly name: string; readonly mode: number }
  | { readonly kind: 'file'; readonly name: string; readonly mode: number; readonly content: CpioContent }
  | { readonly kind: 'symlink'; readonly name: string; readonly target: string }
  | {
      readonly kind: 'character-device';
      readonly name: string;
      readonly mode: number;
      readonly major: number;
      readonly minor: number;
    };

/** Octets, or a file that is read when its turn comes and must still have this size then. */
export type CpioContent = Uint8Array | { readonly path: string; readonly sizeBytes: number };

// inode(7), the file type bits of st_mode.
const TYPE_BITS = {
  directory: 0o040000,
  file: 0o100000,
  symlink: 0o120000,
  'character-device': 0o020000,
} as const;
/** What `cpio` itself pads an archive to. */
const BLOCK_BYTES = 512;
/** The kernel's PATH_MAX; it skips a member whose name is longer. */
const NAME_LIMIT_BYTES = 4096;
const CONTENT_LIMIT_BYTES = 0xffff_ffff;

/**
 * The archive's octets, one chunk after the other. A folder must be among the entries, or in an earlier archive, for the
 * kernel to unpack what it holds.
 *
 * @throws `archive_invalid` for a name twice, or one that is empty, absolute or leads outside; `content_changed` when a
 *   file is not as long as it was said to be.
 */
export async function* cpioArchive(entries: Iterable<CpioEntry>): AsyncGenerator<Uint8Array, void, void> {
  const members = [...entries]
    .map((entry) => ({ entry, name: encodeName(entry.name) }))
    .sort((a, b) => Buffer.compare(a.name, b.name));
  let writtenBytes = 0;
  let previous: Buffer | undefined;
  for (const [index, { entry, name }] of members.entries()) {
    if (previous?.equals(name))
      throw buildError('archive_invalid', `"${entry.name}" is in the archive twice`);
    previous = name;
    const content = contentOf(entry);
    const sizeBytes = content instanceof Uint8Array ? content.length : content.sizeBytes;
    const header = memberHeader(entry, index + 1, name, sizeBytes);
    yield header;
    if (content instanceof Uint8Array) yield content;
    else yield* readExactly(content.path, sizeBytes);
    const padding = Buffer.alloc(-sizeBytes & 3);
    yield padding;
    writtenBytes += header.length + sizeBytes + padding.length;
  }
  const trailer = encodeHeader(Buffer.from('TRAILER!!!'), {
    inode: 0,
    mode: 0,
    sizeBytes: 0,
    major: 0,
    minor: 0,
  });
  writtenBytes += trailer.length;
  yield trailer;
  yield Buffer.alloc((BLOCK_BYTES - (writtenBytes % BLOCK_BYTES)) % BLOCK_BYTES);
}

function contentOf(entry: CpioEntry): CpioContent {
  if (entry.kind === 'file') return entry.content;
  return Buffer.from(entry.kind === 'symlink' ? entry.target : '');
}

function memberHeader(entry: CpioEntry, inode: number, name: Buffer, sizeBytes: number): Buffer {
  if (sizeBytes > CONTENT_LIMIT_BYTES) {
    throw buildError('archive_invalid', `"${entry.name}" is too large for an archive: the limit is 4 GiB`);
  }
  // A symbolic link's own permissions mean nothing (symlink(7)).
  const mode = TYPE_BITS[entry.kind] | (entry.kind === 'symlink' ? 0o777 : entry.mode & 0o7777);
  const { major, minor } = entry.kind === 'character-device' ? entry : { major: 0, minor: 0 };
  return encodeHeader(name, { inode, mode, sizeBytes, major, minor });
}

function encodeHeader(
  name: Buffer,
  {
    inode,
    mode,
    sizeBytes,
    major,
    minor,
  }: Record<'inode' | 'mode' | 'sizeBytes' | 'major' | 'minor', number>,
): Buffer {
  const [uid, gid, links, timeSeconds, checksum] = [0, 0, 1, 0, 0];
  const fields = [
    inode,
    mode,
    uid,
    gid,
    links,
    timeSeconds,
    sizeBytes,
    0,
    0,
    major,
    minor,
    name.length + 1,
    checksum,
  ];
  const digits = fields.map((field) => field.toString(16).toUpperCase().padStart(8, '0')).join('');
  const unpadded = Buffer.concat([Buffer.from(`070701${digits}`), name, Buffer.alloc(1)]);
  return Buffer.concat([unpadded, Buffer.alloc(-unpadded.length & 3)]);
}

function encodeName(name: string): Buffer {
  const encoded = Buffer.from(name);
  const parts = name.split('/');
  if (parts.some((part) => part === '' || part === '.' || part === '..') || name.includes('\0')) {
    throw buildError('archive_invalid', `"${name}" cannot be a name in an archive`);
  }
  if (encoded.length >= NAME_LIMIT_BYTES) {
    throw buildError('archive_invalid', `a name in the archive is too long: ${name.slice(0, 80)}…`);
  }
  return encoded;
}

async function* readExactly(path: string, sizeBytes: number): AsyncGenerator<Uint8Array, void, void> {
  let readBytes = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 }) as AsyncIterable<Buffer>) {
    readBytes += chunk.length;
    if (readBytes > sizeBytes) break;
    yield chunk;
  }
  if (readBytes !== sizeBytes) {
    throw buildError(
      'content_changed',
      `${path} changed while it was read; build again when nobody writes to it`,
    );
  }
}
