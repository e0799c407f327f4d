/**
 * The header of a qcow2 file, read by ourselves: QEMU's own tools follow what it points to (another file, a server), and
 * that is just what an image from elsewhere must not have.
 *
 *       0  magic "QFI\xfb"             4  version: 2 or 3
 *       8  offset of the backing file's name, 0 without one
 *      20  cluster bits               24  virtual size in octets
 *      32  encryption: 0 none         36  entries of the first table
 *      72  incompatible features, from version 3 on
 *     100  length of the header, from version 3 on; after it extensions: type, length, data padded to 8; type 0 ends them
 *
 * All numbers are big endian. (QEMU, docs/interop/qcow2.rst)
 * @module
 */

/** As much of a file as is looked at: header and extensions are in its first cluster, and are short. */
export const QCOW2_HEADER_BYTES = 64 * 1024;

const MAGIC = 0x51_46_49_fb;
const VERSION_2_LENGTH = 72;
const VERSION_3_LENGTH = 104;
/** Bit 3: another compression than zlib; bit 4: subclusters. Not among them: dirty, corrupt, data in another file. */
const ALLOWED_FEATURES = 0b1_1000n;
const EXTENSION_FAULTS: Readonly<Record<number, string>> = {
  [0xe2_79_2a_ca]: 'a backing file',
  [0x44_41_54_41]: 'its data in another file',
  [0x05_37_be_77]: 'encryption',
};
const TABLE_LIMIT_BYTES = 32 * 2 ** 20;

/** What is wrong with a file that is to be a qcow2 image that stands on its own; undefined when nothing is. */
export function qcow2Fault(octets: Uint8Array, virtualSizeBytes: number): string | undefined {
  const view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
  if (octets.length < VERSION_3_LENGTH || view.getUint32(0) !== MAGIC) return 'is not qcow2';
  const version = view.getUint32(4);
  if (version !== 2 && version !== 3) return `is qcow2 of version ${version}; expected 2 or 3`;
  if (view.getBigUint64(8) !== 0n) return 'has a backing file';
  if (view.getUint32(32) !== 0) return 'has encryption';
  const size = view.getBigUint64(24);
  if (size !== BigInt(virtualSizeBytes)) {
    return `has a virtual size of ${size} octets; its manifest says ${virtualSizeBytes}`;
  }
  const clusterBits = view.getUint32(20);
  if (clusterBits < 9 || clusterBits > 21) return `has clusters of 2^${clusterBits} octets`;
  if (view.getUint32(36) * 8 > TABLE_LIMIT_BYTES) return 'has a first table that is too large';
  if (version === 2) return extensionFault(view, VERSION_2_LENGTH);
  const features = view.getBigUint64(72);
  if ((features & 0b100n) !== 0n) return 'has its data in another file';
  if ((features & ~ALLOWED_FEATURES) !== 0n)
    return `has features that are not allowed: 0x${features.toString(16)}`;
  const length = view.getUint32(100);
  if (length < VERSION_3_LENGTH || length % 8 !== 0) return `has a header of ${length} octets`;
  return extensionFault(view, length);
}

function extensionFault(view: DataView, begin: number): string | undefined {
  for (let at = begin; at + 8 <= view.byteLength; ) {
    const type = view.getUint32(at);
    if (type === 0) return undefined;
    const fault = EXTENSION_FAULTS[type];
    if (fault !== undefined) return `has ${fault}`;
    at += 8 + Math.ceil(view.getUint32(at + 4) / 8) * 8;
  }
  return 'has a header without end';
}
