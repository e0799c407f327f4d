/**
 * The header of a member of a tar archive, of the POSIX format "ustar" (POSIX.1-2017, pax, "ustar Interchange Format"):
 *
 *       0  100  name, NUL-terminated unless it fills the field     148    8  checksum of the header
 *     100    8  mode, octal digits                                 156    1  type: "0" or NUL file, "5" folder
 *     108   16  owner: user, group                                 257    8  "ustar", NUL, "00"
 *     124   12  length of the content, octal digits                345  155  what goes before the name, with a "/"
 *     136   12  time
 *
 * It fills a block of 512 octets, and so does the content, with zeros at its end. Two blocks of zeros end the archive.
 * @module
 */
import { poolError } from '../errors.ts';

export const BLOCK_BYTES = 512;

export interface TarMember {
  /** Relative, its parts separated by "/". */
  readonly name: string;
  readonly kind: 'file' | 'folder';
  readonly sizeBytes: number;
  readonly isExecutable: boolean;
}

const [NAME_BYTES, PREFIX_BYTES] = [100, 155];
const MAGIC = 'ustar\x0000';

/**
 * A member as it is in its header; undefined for a block of zeros, which begins the end.
 *
 * @throws `application_invalid` for all but files and folders, by harmless names: no link, no device, nothing absolute, no
 *   way up, no control character, no other format.
 */
export function parseTarHeader(block: Buffer): TarMember | undefined {
  if (block.every((octet) => octet === 0)) return undefined;
  if (block.toString('latin1', 257, 263) !== 'ustar\0' || numberIn(block, 148, 8) !== checksumOf(block)) {
    throw invalid('it is no tar archive of the format ustar');
  }
  const prefix = textIn(block, 345, PREFIX_BYTES);
  const whole = `${prefix}${prefix === '' ? '' : '/'}${textIn(block, 0, NAME_BYTES)}`;
  const type = block.toString('latin1', 156, 157);
  const kind = type === '5' ? 'folder' : type === '0' || type === '\0' ? 'file' : undefined;
  if (!kind)
    throw invalid(`${JSON.stringify(whole)} is neither a file nor a folder (type ${JSON.stringify(type)})`);
  const sizeBytes = numberIn(block, 124, 12);
  if (kind === 'folder' && sizeBytes !== 0)
    throw invalid(`the folder ${JSON.stringify(whole)} has a content`);
  const name = kind === 'folder' ? whole.replace(/\/$/, '') : whole;
  const plain = name.replace(/^\.\//, '');
  if (plain !== '.' || kind === 'file') checkName(plain);
  return { name: plain, kind, sizeBytes, isExecutable: (numberIn(block, 100, 8) & 0o111) !== 0 };
}

/** Of a member; the same for the same: owned by root, without a time. @throws `application_invalid` */
export function tarHeader({ name, kind, sizeBytes, isExecutable }: TarMember): Buffer {
  checkName(name);
  const { prefix, rest } = split(name);
  const block = Buffer.alloc(BLOCK_BYTES);
  const octal = (value: number, at: number, length: number) =>
    block.write(value.toString(8).padStart(length - 1, '0'), at, 'latin1');
  block.write(rest, 0);
  octal(kind === 'folder' || isExecutable ? 0o755 : 0o644, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(sizeBytes, 124, 12);
  octal(0, 136, 12);
  block.write(kind === 'folder' ? '5' : '0', 156, 'latin1');
  block.write(MAGIC, 257, 'latin1');
  block.write(prefix, 345);
  octal(checksumOf(block), 148, 8);
  return block;
}

/** Whether a name is one below the archive's root, and fit to be shown. */
export const isPlainName = (name: string): boolean =>
  !/[\p{Cc}\ufffd]/u.test(name) &&
  name.split('/').every((part) => part !== '' && part !== '.' && part !== '..');

function checkName(name: string): void {
  if (isPlainName(name)) return;
  throw invalid(`${JSON.stringify(name.slice(0, 200))} is no name for a file below a folder`);
}

function split(name: string): { prefix: string; rest: string } {
  if (Buffer.byteLength(name) <= NAME_BYTES) return { prefix: '', rest: name };
  for (let at = name.indexOf('/'); at >= 0; at = name.indexOf('/', at + 1)) {
    const [prefix, rest] = [name.slice(0, at), name.slice(at + 1)];
    if (Buffer.byteLength(prefix) <= PREFIX_BYTES && Buffer.byteLength(rest) <= NAME_BYTES)
      return { prefix, rest };
  }
  throw invalid(`the name ${JSON.stringify(name.slice(0, 80))}… is too long for a tar archive`);
}

function textIn(block: Buffer, at: number, length: number): string {
  const field = block.subarray(at, at + length);
  const end = field.indexOf(0);
  return field.toString('utf8', 0, end < 0 ? length : end);
}

function numberIn(block: Buffer, at: number, length: number): number {
  const digits = /^ *([0-7]{1,11})[ \0]*$/.exec(block.toString('latin1', at, at + length))?.[1];
  if (digits === undefined) throw invalid('a number in a header is none');
  return Number.parseInt(digits, 8);
}

/** The sum of all octets, those of the checksum taken for spaces. */
function checksumOf(block: Buffer): number {
  let sum = 8 * 0x20;
  for (const [index, octet] of block.entries()) if (index < 148 || index >= 156) sum += octet;
  return sum;
}

const invalid = (what: string) => poolError('application_invalid', `not an application: ${what}`);
