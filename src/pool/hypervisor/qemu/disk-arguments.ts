/**
 * A VM's disks as QEMU gets them: as open files, so that it needs no right to find or open them, and each with its format,
 * so that it looks for none. An overlay is told what it lies over by the name of that node; the path in its own header,
 * where a QEMU that was taken over can write, is not looked at.
 *
 *     descriptor ── fdset ── file (locked) ── raw or qcow2 ── virtio-blk
 *                                               └ backing: raw or qcow2, read only ── file
 *
 * What a guest was told to be written is on the host's disk when it is (the default, `cache.no-flush=off`). A host without
 * room is an error to the guest's write; QEMU's own default stops the whole machine.
 * @module
 */
import type { MachineDisk } from '../../disks/machine-disk.ts';
import { DISK_DESCRIPTOR, type DiskFile } from './qemu-process.ts';

/** The first one is the console's. */
const FIRST_SET = 2;

/** What QEMU gets open, in the order of the descriptors. */
export const diskFiles = (disks: readonly MachineDisk[]): DiskFile[] =>
  disks.flatMap(({ path, backing }) => [
    { path, isWritable: true },
    ...(backing ? [{ path: backing.path, isWritable: false }] : []),
  ]);

export function diskArguments(disks: readonly MachineDisk[]): string[] {
  let count = 0;
  const file = (nodeName: string, isWritable: boolean): string[] => {
    const index = count;
    count += 1;
    return [
      ...['-add-fd', `fd=${DISK_DESCRIPTOR + index},set=${FIRST_SET + index}`],
      ...node({
        driver: 'file',
        'node-name': nodeName,
        filename: `/dev/fdset/${FIRST_SET + index}`,
        locking: 'on',
        'read-only': !isWritable,
        'auto-read-only': false,
        discard: 'unmap',
      }),
    ];
  };
  return disks.flatMap(({ format, backing }, index) => {
    const name = `disk${index}`;
    const under = backing && `${name}-under`;
    const top = { driver: format, 'node-name': name, file: `${name}-file`, discard: 'unmap' };
    return [
      ...file(`${name}-file`, true),
      ...(backing && under
        ? [
            ...file(`${under}-file`, false),
            ...node({
              driver: backing.format,
              'node-name': under,
              file: `${under}-file`,
              'read-only': true,
              ...(backing.format === 'qcow2' && { backing: null }),
            }),
          ]
        : []),
      ...node(under ? { ...top, backing: under } : top),
      ...['-device', `virtio-blk-device,drive=${name},werror=report,rerror=report`],
    ];
  });
}

const node = (options: object): string[] => ['-blockdev', JSON.stringify(options)];
