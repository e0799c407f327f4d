import type { Configuration, Vm } from '../pool/schema.ts';

/** How much of the host's memory machines may take that wait for a VM: what no VM takes, up to a limit. */
export function warmRoomBytes(
  vms: readonly Vm[],
  costOf: (configuration: Configuration) => number,
  limits: { readonly warmBytes: number; readonly hostBytes: number },
): number {
  const takenBytes = vms
    .filter(({ phase }) => phase !== 'suspended')
    // While it changes, another version runs beside it.
    .reduce((sum, { configuration, next }) => sum + costOf(configuration) * (next ? 2 : 1), 0);
  return Math.max(0, Math.min(limits.warmBytes, limits.hostBytes - takenBytes));
}
