import type { Machine } from './hypervisor/hypervisor.ts';
import type { MachinePlace, VmRecord } from './vm-table.ts';
import { type VmVersion, versionsToRun } from './vm-versions.ts';

/** A machine that goes on for a version of a VM. */
export interface KeptMachine {
  readonly name: string;
  readonly version: number;
  readonly machine: Machine;
}

/**
 * Which machines that were left running go on, and for what. A version that is to run keeps the one machine that the store
 * names for it; any other is unwanted: of a VM that was stopped, of a version that was replaced or makes room on its disk
 * for the next, from before a restart.
 */
export function assignMachines(
  records: readonly VmRecord[],
  places: readonly MachinePlace[],
  machines: readonly Machine[],
  sharesDisks: (one: VmVersion, other: VmVersion) => boolean,
): { readonly kept: readonly KeptMachine[]; readonly unwanted: readonly Machine[] } {
  const kept: KeptMachine[] = [];
  const unwanted: Machine[] = [];
  for (const machine of machines) {
    const place = places.find(({ machineId }) => machineId === machine.id);
    const versions = records.find(({ name }) => name === place?.name)?.versions;
    const toRun = versions ? versionsToRun(versions, sharesDisks) : [];
    if (place && toRun.some(({ version }) => version === place.version))
      kept.push({ name: place.name, version: place.version, machine });
    else unwanted.push(machine);
  }
  return { kept, unwanted };
}
