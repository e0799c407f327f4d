/** What a contract grants one VM [desktop D4]. */
export interface Contract {
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly diskBytes: number;
  /** How many CPUs of such contracts share one of the host's; 1 where each has its own. */
  readonly cpuOvercommit: number;
  /** Which part of its CPUs such a VM uses on average, from 0 to 1: what is reckoned with until it is measured. */
  readonly expectedUse: number;
}

/** What QEMU takes beside the guest's memory. */
export interface MachineOverhead {
  /** Of TCG; 0 under KVM. */
  readonly translationCacheBytes: number;
  readonly processBytes: number;
}

/** What a VM takes of its host. Whole numbers, so that sums are exact and what is given back is what was taken. */
export interface Claim {
  /** Thousandths of a host's CPU that are reserved: less than the guest's CPUs where they are overcommitted. */
  readonly milliCpus: number;
  readonly memoryBytes: number;
  readonly diskBytes: number;
  /** Thousandths of a CPU that the VM is expected to use. */
  readonly expectedMilliCpus: number;
  /** Bits that the host must have: an accelerator, a device, a licence. Whoever knows their names hands out the bits. */
  readonly labels: number;
}

export function claimOf(contract: Contract, overhead: MachineOverhead, labels = 0): Claim {
  const { cpus, cpuOvercommit, expectedUse, memoryBytes, diskBytes } = contract;
  return {
    milliCpus: Math.ceil((cpus * 1000) / cpuOvercommit),
    memoryBytes: memoryBytes + overhead.translationCacheBytes + overhead.processBytes,
    diskBytes,
    expectedMilliCpus: Math.round(cpus * expectedUse * 1000),
    labels,
  };
}
