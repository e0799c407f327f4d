/** The VMs of lost hosts in the order in which they are to be placed again: the highest priority first, else as given. */
export const inReturnOrder = <Vm extends { readonly priority: number }>(vms: readonly Vm[]): Vm[] =>
  vms.toSorted((one, other) => other.priority - one.priority);
