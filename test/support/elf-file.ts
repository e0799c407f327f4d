/** A program of 64 bits that does nothing, as far as it is looked at: who loads it, and which libraries it needs. */
export function elfFile(libraries: readonly string[], interpreter?: string): Buffer {
  const [headerBytes, entryBytes, base] = [64, 56, 0x1000];
  const names = Buffer.from(`\0${libraries.join('\0')}\0`);
  const loader = Buffer.from(interpreter === undefined ? '' : `${interpreter}\0`);
  const begin = headerBytes + 3 * entryBytes;
  const offsets = libraries.map((library) => names.indexOf(`\0${library}\0`) + 1);
  const dynamic = pairs([...offsets.map((offset) => [1, offset] as const), [5, base + begin], [0, 0]]);
  const header = Buffer.alloc(headerBytes);
  header.writeUInt32BE(0x7f_45_4c_46, 0);
  header.writeUInt16BE(0x02_01, 4);
  header.writeBigUInt64LE(BigInt(headerBytes), 32);
  header.writeUInt16LE(entryBytes, 54);
  header.writeUInt16LE(3, 56);
  const entry = (type: number, offset: number, length: number) => {
    const octets = Buffer.alloc(entryBytes);
    octets.writeUInt32LE(type, 0);
    octets.writeBigUInt64LE(BigInt(offset), 8);
    octets.writeBigUInt64LE(BigInt(base + offset), 16);
    octets.writeBigUInt64LE(BigInt(length), 32);
    return octets;
  };
  return Buffer.concat([
    header,
    entry(1, 0, begin + names.length),
    entry(2, begin + names.length + loader.length, dynamic.length),
    // A library has something else here.
    entry(interpreter === undefined ? 4 : 3, begin + names.length, loader.length),
    names,
    loader,
    dynamic,
  ]);
}

function pairs(values: readonly (readonly [number, number])[]): Buffer {
  const octets = Buffer.alloc(16 * values.length);
  for (const [index, [tag, value]] of values.entries()) {
    octets.writeBigUInt64LE(BigInt(tag), 16 * index);
    octets.writeBigUInt64LE(BigInt(value), 16 * index + 8);
  }
  return octets;
}
