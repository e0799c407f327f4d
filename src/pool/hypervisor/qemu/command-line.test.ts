import { describe, expect, test } from 'vitest';
import type { MachineDisk } from '../../disks/machine-disk.ts';
import type { StoredImage } from '../../images/image-store.ts';
import { imageManifestSchema } from '../../schema.ts';
import type { Accelerator } from '../hypervisor.ts';
import { forwardedPorts, type IdentifiedSpec, qemuArguments, qemuProgram } from './command-line.ts';

interface Change {
  readonly architecture?: 'x86_64' | 'aarch64';
  readonly commandLine?: string;
  readonly disks?: readonly MachineDisk[];
  readonly memoryBytes?: number;
  readonly folder?: string;
}

function specOf(change: Change = {}): IdentifiedSpec {
  const { architecture = 'x86_64', commandLine = 'quiet', folder = '/srv/images' } = change;
  const file = { file: 'vmlinuz', sizeBytes: 8, sha256: '0'.repeat(64) };
  const manifest = imageManifestSchema.parse({
    format: 'orilla.image/1',
    name: 'photos',
    architecture,
    kernel: file,
    initrd: [{ ...file, file: 'base.cpio' }],
    commandLine,
    http: { port: 8000 },
    minimumMemoryBytes: 1,
  });
  const image: StoredImage = {
    digest: `sha256:${'0'.repeat(64)}`,
    name: 'photos',
    architecture,
    sizeBytes: 16,
    storedAtMs: 0,
    manifest,
    kernelPath: `${folder}/vmlinuz`,
    initrdPath: `${folder}/base.cpio`,
    isTrusted: false,
    diskPaths: [],
  };
  const { memoryBytes = 2 ** 27, disks = [] } = change;
  return {
    id: '7f3k',
    name: 'photos-1',
    image,
    configuration: { cpus: 2, memoryBytes, diskBytes: 0 },
    disks,
  };
}

const argumentsOf = (spec: IdentifiedSpec, accelerator: Accelerator = 'tcg') =>
  qemuArguments(spec, accelerator, 'tsc_early_khz=2600000', 'tap');

/** The values of an option, in their order. */
const valuesOf = (args: readonly string[], option: string): (string | undefined)[] =>
  args.flatMap((arg, index) => (arg === option ? [args[index + 1]] : []));

describe("QEMU's arguments", () => {
  const args = argumentsOf(specOf());

  test('name the tap device that is there for it; where there can be none, ports that loopback alone reaches', () => {
    expect(valuesOf(args, '-netdev')).toEqual(['tap,id=net0,ifname=tap0,script=no,downscript=no']);
    const byPorts = qemuArguments(specOf(), 'tcg', '', 'ports');
    expect(valuesOf(byPorts, '-netdev')).toEqual([
      expect.stringMatching(/^user,id=net0,restrict=on(,hostfwd=tcp:127\.0\.0\.1:0-:8000){16}$/),
    ]);
  });

  test('shut QEMU in: no program, no privilege, no device that is not named', () => {
    expect(valuesOf(args, '-sandbox')).toEqual([
      'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny',
    ]);
    expect(args).toEqual(expect.arrayContaining(['-nodefaults', '-no-user-config', '-no-reboot']));
    expect(valuesOf(args, '-device')).toEqual([
      'virtio-net-device,netdev=net0,mac=52:54:00:12:34:56',
      'virtio-rng-device,rng=rng0',
      'virtio-serial-device',
      'virtserialport,chardev=agent0,name=orilla.agent',
      'virtserialport,chardev=commands0,name=org.qemu.guest_agent.0',
    ]);
    expect(valuesOf(args, '-display')).toEqual(['none']);
  });

  test('give the guest its resources', () => {
    expect(valuesOf(args, '-smp')).toEqual(['2']);
    expect(valuesOf(args, '-m')).toEqual(['128M']);
    expect(valuesOf(argumentsOf(specOf({ memoryBytes: 2 ** 27 + 1 }), 'tcg'), '-m')).toEqual(['129M']);
  });

  test('tell the guest its name and address', () => {
    const [commandLine] = valuesOf(args, '-append');
    expect(commandLine).toMatch(
      /^console=ttyS0 panic=-1 .*quiet orilla\.name=photos-1 orilla\.ip=10\.0\.2\.15\/24 /,
    );
  });

  test('tell an emulated x86 guest how fast its clock runs, and others not', () => {
    const linesOf = (change: Change, accelerator: Accelerator) =>
      valuesOf(argumentsOf(specOf(change), accelerator), '-append').join();
    expect(linesOf({}, 'tcg')).toMatch(/ tsc_early_khz=2600000 /);
    expect(linesOf({}, 'kvm')).not.toContain('khz');
    expect(linesOf({ architecture: 'aarch64' }, 'tcg')).not.toContain('khz');
  });

  test("attach the VM's disks in their order, as open files, and name what an overlay lies over", () => {
    expect(args).not.toContain('-blockdev');
    const withDisks = argumentsOf(
      specOf({
        disks: [
          { path: '/vms/photos/data.raw', format: 'raw', sizeBytes: 2 ** 20 },
          {
            path: '/vms/photos/0.qcow2',
            format: 'qcow2',
            sizeBytes: 2 ** 20,
            backing: { path: '/images/root.qcow2', format: 'qcow2' },
          },
        ],
      }),
    );
    expect(withDisks.join(' ')).not.toMatch(/\/vms|\/images/);
    expect(valuesOf(withDisks, '-device').filter((device) => device?.startsWith('virtio-blk'))).toEqual([
      'virtio-blk-device,drive=disk0,werror=report,rerror=report',
      'virtio-blk-device,drive=disk1,werror=report,rerror=report',
    ]);
    const nodes = valuesOf(withDisks, '-blockdev').map(
      (text) => JSON.parse(text ?? '') as Record<string, unknown>,
    );
    const file = { driver: 'file', locking: 'on', discard: 'unmap', 'auto-read-only': false };
    const writable = { ...file, 'read-only': false };
    expect(nodes).toEqual([
      { ...writable, 'node-name': 'disk0-file', filename: '/dev/fdset/2' },
      { driver: 'raw', 'node-name': 'disk0', file: 'disk0-file', discard: 'unmap' },
      { ...writable, 'node-name': 'disk1-file', filename: '/dev/fdset/3' },
      { ...file, 'read-only': true, 'node-name': 'disk1-under-file', filename: '/dev/fdset/4' },
      {
        driver: 'qcow2',
        'node-name': 'disk1-under',
        file: 'disk1-under-file',
        'read-only': true,
        backing: null,
      },
      { driver: 'qcow2', 'node-name': 'disk1', file: 'disk1-file', discard: 'unmap', backing: 'disk1-under' },
    ]);
    expect(valuesOf(withDisks, '-add-fd').slice(1)).toEqual(['fd=8,set=2', 'fd=9,set=3', 'fd=10,set=4']);
  });

  test('are those of the accelerator and of the processor', () => {
    expect(valuesOf(args, '-accel')).toEqual(['tcg,thread=multi,tb-size=128']);
    expect(valuesOf(argumentsOf(specOf(), 'kvm'), '-accel')).toEqual(['kvm']);
    expect(valuesOf(args, '-machine')[0]).toBe('microvm,acpi=on,rtc=on');
    const arm = argumentsOf(specOf({ architecture: 'aarch64' }), 'tcg');
    expect(valuesOf(arm, '-machine')[0]).toBe('virt');
    expect(valuesOf(arm, '-append')).toEqual([expect.stringMatching(/^console=ttyAMA0 /)]);
    expect([qemuProgram('x86_64'), qemuProgram('aarch64')]).toEqual([
      'qemu-system-x86_64',
      'qemu-system-aarch64',
    ]);
  });

  test('name the files by the descriptors that it is given, kernel first', () => {
    expect(valuesOf(args, '-kernel')).toEqual(['/proc/self/fd/4']);
    expect(valuesOf(args, '-initrd')).toEqual(['/proc/self/fd/5']);
  });

  test('keep the memory in a file for a template, and copy from it for a clone, with the same devices in all', () => {
    const [own = [], template = [], clone] = (['own', 'template', 'clone'] as const).map((memory) =>
      qemuArguments(specOf(), 'tcg', '', 'tap', memory),
    );
    const file = (share: string) =>
      `memory-backend-file,id=memory0,size=128M,mem-path=/proc/self/fd/6,share=${share}`;
    const [memory = ''] = valuesOf(own, '-object').slice(-1);
    const withFile = (share: string) => own.map((arg) => (arg === memory ? file(share) : arg));
    expect(memory).toBe('memory-backend-ram,id=memory0,size=128M');
    expect(template).toEqual(withFile('on'));
    expect(qemuArguments(specOf(), 'tcg', '', 'tap', 'saved')).toEqual([...own, '-incoming', 'defer']);
    expect(clone).toEqual([...withFile('off'), '-incoming', 'defer']);
  });

  test('take no option from what an image or a path says: each stays within one argument that has no options', () => {
    const hostile = '-device pci,x=1 "quoted" \'$(reboot)\'\n,restrict=off';
    const folder = '/srv/a, b=c/-netdev user';
    const others = argumentsOf(specOf({ commandLine: hostile, folder }));
    expect(others).toHaveLength(args.length);
    const differing = others.flatMap((arg, index) => (arg === args[index] ? [] : [others[index - 1]]));
    expect(differing).toEqual(['-append']);
    expect(valuesOf(others, '-append')[0]).toContain(hostile);
  });
});

describe('forwardedPorts', () => {
  const HEAD = '  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n';

  test("finds the host's ports among other connections", () => {
    expect(
      forwardedPorts(
        `Hub -1 (net0):\r\n${HEAD}` +
          '  TCP[ESTABLISHED]   13       127.0.0.1 50312       10.0.2.15    80     0     0\r\n' +
          '  UDP[236 sec]       14       10.0.2.15 68          10.0.2.2      67     0     0\r\n' +
          '  TCP[HOST_FORWARD]  12       127.0.0.1 38157       10.0.2.15    80     0     0\r\n' +
          '  TCP[HOST_FORWARD]  11       127.0.0.1 40001       10.0.2.15    80     0     0\r\n',
      ),
    ).toEqual([38_157, 40_001]);
  });

  test.for(['', HEAD, 'TCP[HOST_FORWARD]', '  UDP[HOST_FORWARD]  12  127.0.0.1 53  10.0.2.15  53  0  0\r\n'])(
    'finds none in %j',
    (usernet) => {
      expect(forwardedPorts(usernet)).toEqual([]);
    },
  );
});
