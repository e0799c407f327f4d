import { describe, expect, test } from 'vitest';
import type { StoredImage } from '../../images/image-store.ts';
import { imageManifestSchema } from '../../schema.ts';
import type { Accelerator, MachineSpec } from '../hypervisor.ts';
import { forwardedPorts, qemuArguments, qemuProgram } from './command-line.ts';

interface Change {
  readonly architecture?: 'x86_64' | 'aarch64';
  readonly commandLine?: string;
  readonly diskBytes?: number;
  readonly memoryBytes?: number;
  readonly folder?: string;
}

function specOf(change: Change = {}): MachineSpec {
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
  };
  const { memoryBytes = 2 ** 27, diskBytes = 0 } = change;
  return { id: '7f3k', name: 'photos-1', image, configuration: { cpus: 2, memoryBytes, diskBytes } };
}

const argumentsOf = (spec: MachineSpec, accelerator: Accelerator) =>
  qemuArguments(spec, accelerator, 'tsc_early_khz=2600000');

/** The values of an option, in their order. */
const valuesOf = (args: readonly string[], option: string): (string | undefined)[] =>
  args.flatMap((arg, index) => (arg === option ? [args[index + 1]] : []));

describe("QEMU's arguments", () => {
  const args = qemuArguments(specOf(), 'tcg', 'tsc_early_khz=1');

  test('shut the guest in: its one way is the forwarded port, from loopback only', () => {
    expect(valuesOf(args, '-netdev')).toEqual([
      expect.stringMatching(/^user,id=net0,restrict=on(,hostfwd=tcp:127\.0\.0\.1:0-:8000){16}$/),
    ]);
  });

  test('shut QEMU in: no program, no privilege, no device that is not named', () => {
    expect(valuesOf(args, '-sandbox')).toEqual([
      'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny',
    ]);
    expect(args).toEqual(expect.arrayContaining(['-nodefaults', '-no-user-config', '-no-reboot']));
    expect(valuesOf(args, '-device')).toEqual([
      'virtio-net-device,netdev=net0',
      'virtio-rng-device,rng=rng0',
    ]);
    expect(valuesOf(args, '-display')).toEqual(['none']);
  });

  test('give the guest its resources', () => {
    expect(valuesOf(args, '-smp')).toEqual(['2']);
    expect(valuesOf(args, '-m')).toEqual(['128M']);
    expect(
      valuesOf(qemuArguments(specOf({ memoryBytes: 2 ** 27 + 1 }), 'tcg', 'tsc_early_khz=1'), '-m'),
    ).toEqual(['129M']);
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

  test('attach a scratch disk only when there is one', () => {
    expect(args).not.toContain('-drive');
    const withDisk = qemuArguments(specOf({ diskBytes: 2 ** 20 }), 'tcg', 'tsc_early_khz=1');
    expect(valuesOf(withDisk, '-drive')).toEqual([
      expect.stringContaining('file=disk.raw,if=none,id=disk0,format=raw'),
    ]);
    expect(valuesOf(withDisk, '-device')).toContain('virtio-blk-device,drive=disk0');
  });

  test('are those of the accelerator and of the processor', () => {
    expect(valuesOf(args, '-accel')).toEqual(['tcg,thread=multi,tb-size=128']);
    expect(valuesOf(qemuArguments(specOf(), 'kvm', 'tsc_early_khz=1'), '-accel')).toEqual(['kvm']);
    expect(valuesOf(args, '-machine')).toEqual(['microvm,acpi=on,rtc=on']);
    const arm = qemuArguments(specOf({ architecture: 'aarch64' }), 'tcg', 'tsc_early_khz=1');
    expect(valuesOf(arm, '-machine')).toEqual(['virt']);
    expect(valuesOf(arm, '-append')).toEqual([expect.stringMatching(/^console=ttyAMA0 /)]);
    expect([qemuProgram('x86_64'), qemuProgram('aarch64')]).toEqual([
      'qemu-system-x86_64',
      'qemu-system-aarch64',
    ]);
  });

  test('take no option from what an image or a path says: each stays within one argument that has no options', () => {
    const hostile = '-device pci,x=1 "quoted" \'$(reboot)\'\n,restrict=off';
    const folder = '/srv/a, b=c/-netdev user';
    const others = qemuArguments(specOf({ commandLine: hostile, folder }), 'tcg', 'tsc_early_khz=1');
    expect(others).toHaveLength(args.length);
    const differing = others.flatMap((arg, index) => (arg === args[index] ? [] : [others[index - 1]]));
    expect(differing).toEqual(['-kernel', '-initrd', '-append']);
    expect(valuesOf(others, '-append')[0]).toContain(hostile);
    expect(valuesOf(others, '-kernel')).toEqual([`${folder}/vmlinuz`]);
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
