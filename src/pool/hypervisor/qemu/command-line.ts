import { TRANSLATION_CACHE_BYTES } from '../../machine-cost.ts';
import type { ImageManifest } from '../../schema.ts';
import type { Accelerator, MachineSpec } from '../hypervisor.ts';
import { diskArguments } from './disk-arguments.ts';
import { GUEST_NETWORK } from './guest-network.ts';
import { CONSOLE_DESCRIPTOR, inputPath } from './qemu-process.ts';
import { RUN_FILES } from './run-files.ts';

/** Begins the name of every QEMU of ours, in its arguments for all to see. */
export const NAME_PREFIX = 'orilla-';

/** QEMU's program for an image. */
export const qemuProgram = (architecture: ImageManifest['architecture']): string =>
  architecture === 'aarch64' ? 'qemu-system-aarch64' : 'qemu-system-x86_64';

/**
 * The machine and what runs it. `-cpu host` aborts where KVM is not whole. `-nodefaults -no-user-config`: no device that is not named. `-sandbox`: QEMU itself can start no
 * program and gain no privilege.
 */
export function machineArguments(
  architecture: ImageManifest['architecture'],
  accelerator: Accelerator,
): string[] {
  return [
    ...['-machine', architecture === 'aarch64' ? 'virt' : 'microvm,acpi=on,rtc=on'],
    ...[
      '-accel',
      accelerator === 'kvm' ? 'kvm' : `tcg,thread=multi,tb-size=${TRANSLATION_CACHE_BYTES / 2 ** 20}`,
    ],
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

/** How a guest is reached: by a network device of its own, or by ports of this host that QEMU's user-mode network forwards. */
export type Reach = 'tap' | 'ports';

/**
 * Where the guest's memory is: in QEMU's own; in QEMU's own and yet to come; in a file that becomes a template; or copied on
 * write from the file of a template. One that is saved or a clone waits to be told where the machine's state is.
 */
export type Memory = 'own' | 'saved' | 'template' | 'clone';

/** The places of the files that QEMU gets open, for `inputPath`. Without a template only the first two are there. */
export const INPUT = { kernel: 0, initrd: 1, memory: 2, state: 3 } as const;

/** What one machine is started from. */
export interface IdentifiedSpec extends MachineSpec {
  /** Unique among the machines that run: names its run directory. */
  readonly id: string;
}

/**
 * QEMU's arguments for one machine, run in its run directory.
 *
 * Reached by ports, `restrict=on`: the guest reaches nothing, not even the host's loopback; only the forwarded ports lead
 * in. Port 0: the kernel picks a free one and QEMU tells which, so no two starts race for it.
 *
 * @param clockOption see `guest-clock.ts`
 */
export function qemuArguments(
  spec: IdentifiedSpec,
  accelerator: Accelerator,
  clockOption: string,
  reach: Reach,
  memory: Memory = 'own',
): string[] {
  const { image, configuration } = spec;
  const { manifest } = image;
  const { address, prefixBits, gateway, hardwareAddress } = GUEST_NETWORK;
  const kernelCommandLine = [
    kernelOptions(manifest.architecture, accelerator, clockOption),
    manifest.commandLine,
    `orilla.name=${spec.name}`,
    `orilla.ip=${address}/${prefixBits}`,
    `orilla.gateway=${gateway}`,
  ];
  const network =
    reach === 'tap'
      ? 'tap,id=net0,ifname=tap0,script=no,downscript=no'
      : `user,id=net0,restrict=on${`,hostfwd=tcp:127.0.0.1:0-:${manifest.http.port}`.repeat(FORWARDS)}`;
  return [
    ...['-name', `${NAME_PREFIX}${spec.id}`],
    ...machineArguments(manifest.architecture, accelerator),
    ...['-smp', String(configuration.cpus)],
    ...['-m', memorySize(configuration)],
    ...['-kernel', inputPath(INPUT.kernel), '-initrd', inputPath(INPUT.initrd)],
    ...['-append', kernelCommandLine.join(' ')],
    ...CONSOLE_ARGUMENTS,
    ...['-chardev', `socket,id=monitor0,path=${RUN_FILES.monitor},server=on,wait=off`],
    ...['-mon', 'chardev=monitor0,mode=control'],
    ...['-netdev', network, '-device', `virtio-net-device,netdev=net0,mac=${hardwareAddress}`],
    ...['-object', 'rng-random,id=rng0,filename=/dev/urandom', '-device', 'virtio-rng-device,rng=rng0'],
    ...diskArguments(spec.disks ?? []),
    ...memoryArguments(memory, memorySize(configuration)),
    ...AGENT_ARGUMENTS,
    ...(memory === 'clone' || memory === 'saved' ? ['-incoming', 'defer'] : []),
  ];
}

/** A descriptor and not a path: QEMU cannot put another file in its place. */
export const CONSOLE_ARGUMENTS: readonly string[] = [
  ...['-add-fd', `fd=${CONSOLE_DESCRIPTOR},set=1`],
  ...['-chardev', 'file,id=console0,path=/dev/fdset/1,append=on', '-serial', 'chardev:console0'],
];

const memorySize = ({ memoryBytes }: MachineSpec['configuration']): string =>
  `${Math.ceil(memoryBytes / 2 ** 20)}M`;

/** Under one name in each machine, by which a machine's saved state knows it (QEMU, RAM block). */
function memoryArguments(memory: Memory, size: string): string[] {
  const file = `mem-path=${inputPath(INPUT.memory)},share=${memory === 'template' ? 'on' : 'off'}`;
  return [
    ...['-machine', 'memory-backend=memory0', '-object'],
    memory === 'own' || memory === 'saved'
      ? `memory-backend-ram,id=memory0,size=${size}`
      : `memory-backend-file,id=memory0,size=${size},${file}`,
  ];
}

/**
 * Serial ports for the programs in the guest that the host talks to: one that brings it to rest and tells a clone who it
 * is (`guest-agent.ts`), and QEMU's guest agent, which runs programs and writes files there (QEMU, "QEMU Guest Agent").
 */
const AGENT_ARGUMENTS: readonly string[] = [
  ...['-device', 'virtio-serial-device'],
  ...['-chardev', `socket,id=agent0,path=${RUN_FILES.agent},server=on,wait=off`],
  ...['-device', 'virtserialport,chardev=agent0,name=orilla.agent'],
  ...['-chardev', `socket,id=commands0,path=${RUN_FILES.commands},server=on,wait=off`],
  ...['-device', 'virtserialport,chardev=commands0,name=org.qemu.guest_agent.0'],
];

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
