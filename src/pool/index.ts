/**
 * Virtual machines on this host: images, QEMU, and VMs that are kept as they are wanted.
 *
 * @example
 * const images = await ImageStore.open({ clock, random }, '/var/lib/orilla/images');
 * const disks = new VmDisks('/var/lib/orilla/vms');
 * const pool = await Pool.start({ clock, random, log, registry, store, images, disks, hypervisor }, options);
 * await pool.create({ name: 'photos', owner: 'photos', imageRef: 'sha256:…', configuration });
 * @module
 */

export { packApplication } from './applications/application-archive.ts';
export {
  type ApplicationKey,
  readApplicationKey,
  signApplication,
} from './applications/application-signature.ts';
export { fileSource, operatorUrlSource } from './applications/application-source.ts';
export { ApplicationStore } from './applications/application-store.ts';
export type { DeployAuthority, DeployRequest } from './applications/deploy-request.ts';
export type { MachineDisk } from './disks/machine-disk.ts';
export { VmDisks } from './disks/vm-disks.ts';
export { poolError } from './errors.ts';
export type { ExecOptions, ExecOutcome } from './guest-commands/guest-commands.ts';
export type {
  Accelerator,
  Claim,
  Hypervisor,
  LeftMachines,
  Machine,
  MachineOrigin,
  MachineSpec,
  StartedMachine,
} from './hypervisor/hypervisor.ts';
export { AcceleratorProbe, type AcceleratorVerdict } from './hypervisor/qemu/accelerator.ts';
export { type CgroupSupport, cgroupSupport } from './hypervisor/qemu/cgroup-support.ts';
export { type ConfinementSupport, confinementSupport } from './hypervisor/qemu/confinement-support.ts';
export { QemuHypervisor } from './hypervisor/qemu/qemu-hypervisor.ts';
export { buildWebImage } from './image-builder/index.ts';
export type { OwnImage } from './image-library.ts';
export { checkTrust } from './image-trust.ts';
export { directorySource, type ImageSource, urlSource } from './images/image-source.ts';
export { ImageStore, type StoredImage } from './images/image-store.ts';
export { Pool } from './pool.ts';
export type { PoolDeps, PoolOptions } from './pool-deps.ts';
export { type PoolTables, poolMigrations } from './tables.ts';
export type { Once, VmRequest } from './vm-requests.ts';
