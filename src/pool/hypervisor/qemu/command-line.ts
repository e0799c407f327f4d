import type { ImageManifest } from '../../schema.ts';
import type { Accelerator, MachineSpec } from '../hypervisor.ts';

/** The files of one machine in its run directory. Short names: a Unix socket's path has at most 107 octets. */
export const RUN_FILES = {
  monitor: 'qmp',
  console: 'console.log',
  errors: 'qemu.log',
  disk: 'disk.raw',
} as const;

/** Begins the name of every QEMU of ours, in its arguments for all to see. */
export const NAME_PREFIX = 'orilla-';

/** QEMU's program for an image. */
export const qemuProgram = (architecture: ImageManifest['architecture']): string =>
  architecture === 'aarch64' ? 'qemu-system-aarch64' : 'qemu-system-x86_64';

/**
 * The machine and what runs it. A translation cache below 128 MiB gave dead guests on microvm; `-cpu host` aborts where
 * KVM is not whole. `-nodefaults -no-user-config`: no device that is not named. `-sandbox`: QEMU itself can start no
 * program and gain no privilege.
 */
export function machineArguments(
  architecture: ImageManifest['architecture'],
  accelerator: Accelerator,
): string[] {
  return [
    ...['-machine', architecture === 'aarch64' ? 'virt' : 'microvm,acpi=on,rtc=on'],
    ...['-accel', accelerator === 'kvm' ? 'kvm' : 'tcg,thread=multi,tb-size=128'],
    ...['-cpu', 'max', '-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none'],
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
  ];
}

/**
 * The kernel's options that follow from the machine: a console on the first serial line, an end on panic, and, emulated,
 * the frequency of its clock.
 */
export const kernelOptions = (
  architecture: ImageManifest['architecture'],
  accelerator: Accelerator,
  clockOption: string,
): string =>
  architecture === 'aarch64'
    ? 'console=ttyAMA0 panic=-1'
    : `console=ttyS0 panic=-1 ${accelerator === 'tcg' ? clockOption : ''}`.trim();

/** The guest's view of QEMU's user-mode network (QEMU, "Using the user mode network stack"). */
const GUEST_ADDRESS = '10.0.2.15/24';
const GUEST_GATEWAY = '10.0.2.2';

/**
 * QEMU's arguments for one machine, run in its run directory.
 *
 * `restrict=on`: the guest reaches nothing, not even the host's loopback; only the forwarded ports lead in. Port 0:
 * the kernel picks a free one and QEMU tells which, so no two starts race for it.
 *
 * @param clockOption see `guest-clock.ts`
 */
export function qemuArguments(spec: MachineSpec, accelerator: Accelerator, clockOption: string): string[] {
  const { image, configuration } = spec;
  const { manifest } = image;
  const kernelCommandLine = [
    kernelOptions(manifest.architecture, accelerator, clockOption),
    manifest.commandLine,
    `orilla.name=${spec.name}`,
    `orilla.ip=${GUEST_ADDRESS}`,
    `orilla.gateway=${GUEST_GATEWAY}`,
  ];
  const disk =
    configuration.diskBytes > 0
      ? [
          '-drive',
          `file=${RUN_FILES.disk},if=none,id=disk0,format=raw,cache=unsafe,discard=unmap`,
          '-device',
          'virtio-blk-device,drive=disk0',
        ]
      : [];
  return [
    ...['-name', `${NAME_PREFIX}${spec.id}`],
    ...machineArguments(manifest.architecture, accelerator),
    ...['-smp', String(configuration.cpus)],
    ...['-m', `${Math.ceil(configuration.memoryBytes / 2 ** 20)}M`],
    ...['-kernel', image.kernelPath, '-initrd', image.initrdPath, '-append', kernelCommandLine.join(' ')],
    ...['-chardev', `file,id=console0,path=${RUN_FILES.console}`, '-serial', 'chardev:console0'],
    ...['-chardev', `socket,id=monitor0,path=${RUN_FILES.monitor},server=on,wait=off`],
    ...['-mon', 'chardev=monitor0,mode=control'],
    ...[
      '-netdev',
      `user,id=net0,restrict=on${`,hostfwd=tcp:127.0.0.1:0-:${manifest.http.port}`.repeat(FORWARDS)}`,
    ],
    ...['-device', 'virtio-net-device,netdev=net0'],
    ...['-object', 'rng-random,id=rng0,filename=/dev/urandom', '-device', 'virtio-rng-device,rng=rng0'],
    ...disk,
  ];
}

/**
 * The host's ports that lead to the guest, out of the monitor's `info usernet`:
 *
 *     Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
 *     TCP[HOST_FORWARD]  12       127.0.0.1 38157       10.0.2.15    80     0     0
 */
export function forwardedPorts(usernet: string): number[] {
  const lines = usernet.matchAll(/^\s*TCP\[HOST_FORWARD\]\s+\d+\s+\S+\s+(\d+)\s/gm);
  return Array.from(lines, ([, port]) => Number(port));
}

/**
 * How many of the host's ports lead to a guest. QEMU listens on each with a backlog of 1: of connections that come together
 * the kernel drops the third, and its client tries again a second later. (Of 8 requests at a time up to 2.4 % waited.)
 */
const FORWARDS = 16;
