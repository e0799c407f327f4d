import { open } from 'node:fs/promises';
import { z } from 'zod';
import { hasCode } from '../../base/index.ts';
import { poolError } from '../errors.ts';
import type { ImageDisk } from '../schema.ts';
import { QCOW2_HEADER_BYTES, qcow2Fault } from './qcow2-header.ts';
import { runQemuImg } from './qemu-img.ts';

/** Of what `qemu-img info --output=json` says, what matters here. */
const infoSchema = z.object({
  format: z.string(),
  'virtual-size': z.number(),
  encrypted: z.boolean().optional(),
  'backing-filename': z.string().optional(),
  'full-backing-filename': z.string().optional(),
  'dirty-flag': z.boolean().optional(),
  'format-specific': z
    .object({
      data: z.object({
        'data-file': z.string().optional(),
        corrupt: z.boolean().optional(),
        encrypt: z.unknown().optional(),
      }),
    })
    .optional(),
});

/**
 * Whether a disk's file is what its manifest says, and stands on its own: no backing file, no data elsewhere, no
 * encryption, the size that was said. The format is named and never guessed, here as when the disk is used: a guest can
 * write whatever it likes into its first sector.
 *
 * @throws `image_invalid`, `hypervisor_missing` where there is no `qemu-img`.
 */
export async function checkDisk(path: string, disk: ImageDisk, signal: AbortSignal): Promise<void> {
  const fault = disk.format === 'raw' ? rawFault(disk) : await headerFault(path, disk);
  if (fault !== undefined) throw invalid(disk, fault);
  // Only now: before, QEMU's tool would have opened whatever the header points to.
  const info = await imageInfo(path, disk, signal);
  const faults = [
    info.format !== disk.format && `is ${info.format}`,
    info['virtual-size'] !== disk.virtualSizeBytes && `has a virtual size of ${info['virtual-size']} octets`,
    (info['backing-filename'] ?? info['full-backing-filename']) !== undefined && 'has a backing file',
    info['format-specific']?.data['data-file'] !== undefined && 'has its data in another file',
    (info.encrypted || info['format-specific']?.data.encrypt !== undefined) && 'has encryption',
    (info['dirty-flag'] || info['format-specific']?.data.corrupt) && 'is damaged',
  ].filter((one) => one !== false && one !== undefined);
  if (faults.length > 0) throw invalid(disk, faults.join(', '));
}

const rawFault = ({ sizeBytes, virtualSizeBytes }: ImageDisk): string | undefined => {
  if (sizeBytes !== virtualSizeBytes)
    return `has ${sizeBytes} octets, and a virtual size of ${virtualSizeBytes}`;
  return sizeBytes % 512 === 0 ? undefined : `has ${sizeBytes} octets, which are no whole sectors of 512`;
};

async function headerFault(path: string, { virtualSizeBytes }: ImageDisk): Promise<string | undefined> {
  const handle = await open(path);
  try {
    const { buffer, bytesRead } = await handle.read(
      Buffer.alloc(QCOW2_HEADER_BYTES),
      0,
      QCOW2_HEADER_BYTES,
      0,
    );
    return qcow2Fault(buffer.subarray(0, bytesRead), virtualSizeBytes);
  } finally {
    await handle.close();
  }
}

async function imageInfo(
  path: string,
  disk: ImageDisk,
  signal: AbortSignal,
): Promise<z.infer<typeof infoSchema>> {
  try {
    const args = ['info', '--output=json', '-f', disk.format, path];
    return infoSchema.parse(JSON.parse(await runQemuImg(args, 0, signal)));
  } catch (error) {
    signal.throwIfAborted();
    if (hasCode(error, 'hypervisor_missing')) throw error;
    throw invalid(disk, 'is not read by qemu-img', error);
  }
}

const invalid = ({ file, format }: ImageDisk, fault: string, cause?: unknown) =>
  poolError('image_invalid', `the disk ${file} (${format}) ${fault}`, cause);
