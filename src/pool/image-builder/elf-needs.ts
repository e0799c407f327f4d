/**
 * What a program or a library needs to be loaded, out of its file (System V ABI, "Object Files"; ELF-64, little endian):
 *
 *     0  "\x7fELF", class 2 (64 bits), data 1 (little endian)
 *    32  where the program headers begin    54  length of one    56  how many
 *
 *     program header:  0 type: 1 loaded, 2 dynamic section, 3 interpreter;  8 offset;  16 address;  32 length in the file
 *     dynamic section: pairs of tag and value; 1: offset of a needed name, 5: address of the names, 0: the end
 *
 * @module
 */
import { buildError } from './errors.ts';

export interface ElfNeeds {
  /** The program that loads it, by its path; libraries have none. */
  readonly interpreter?: string;
  /** Libraries, by their names. */
  readonly libraries: readonly string[];
}

const [LOADED, DYNAMIC, INTERPRETER] = [1, 2, 3];
const [END, NEEDED, NAMES] = [0, 1, 5];
const NAME_LIMIT = 256;

/** @throws `package_damaged` when it is not such a file. */
export function elfNeeds(octets: Buffer, what: string): ElfNeeds {
  try {
    if (octets.readUInt32BE(0) !== 0x7f_45_4c_46 || octets.readUInt16BE(4) !== 0x02_01)
      throw new RangeError();
    const headers = programHeaders(octets);
    const interpreter = headers.find(({ type }) => type === INTERPRETER);
    const dynamic = headers.find(({ type }) => type === DYNAMIC);
    const libraries = dynamic ? neededNames(octets, headers, dynamic) : [];
    return interpreter ? { interpreter: textAt(octets, interpreter.offset), libraries } : { libraries };
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw buildError('package_damaged', `${what} is no program or library of 64 bits`, error);
  }
}

interface ProgramHeader {
  readonly type: number;
  readonly offset: number;
  readonly address: number;
  readonly length: number;
}

function programHeaders(octets: Buffer): ProgramHeader[] {
  const begin = numberAt(octets, 32);
  const length = octets.readUInt16LE(54);
  return Array.from({ length: octets.readUInt16LE(56) }, (_, index) => {
    const at = begin + index * length;
    return {
      type: octets.readUInt32LE(at),
      offset: numberAt(octets, at + 8),
      address: numberAt(octets, at + 16),
      length: numberAt(octets, at + 32),
    };
  });
}

function neededNames(octets: Buffer, headers: readonly ProgramHeader[], dynamic: ProgramHeader): string[] {
  const needed: number[] = [];
  let names = 0;
  for (let at = dynamic.offset; at < dynamic.offset + dynamic.length; at += 16) {
    const tag = numberAt(octets, at);
    if (tag === END) break;
    if (tag === NEEDED) needed.push(numberAt(octets, at + 8));
    if (tag === NAMES) names = numberAt(octets, at + 8);
  }
  const holder = headers.find(
    ({ type, address, length }) => type === LOADED && names >= address && names < address + length,
  );
  if (!holder) throw new RangeError('its names are not in the file');
  return needed.map((offset) => textAt(octets, names - holder.address + holder.offset + offset));
}

/** A number of 64 bits; in a file of at most some MiB none that counts is larger than 2⁵³. */
const numberAt = (octets: Buffer, at: number): number => Number(octets.readBigUInt64LE(at));

function textAt(octets: Buffer, at: number): string {
  const end = octets.indexOf(0, at);
  if (end < at || end - at > NAME_LIMIT) throw new RangeError('a name without end');
  return octets.toString('latin1', at, end);
}
