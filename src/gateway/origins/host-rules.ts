/** A site's name and its hosts, wherever it was named. */
export interface HostClaim {
  readonly name: string;
  readonly hosts: readonly string[];
}

export interface HostFault {
  readonly origin: string;
  /** Which of its hosts. */
  readonly index: number;
  readonly message: string;
}

/** What is wrong with the hosts of all origins together: one that two have, one that could be a VM's. */
export function hostFaults(origins: readonly HostClaim[], edgeDomain: string): HostFault[] {
  const holders = new Map<string, string>();
  return origins.flatMap(({ name, hosts }) =>
    hosts.flatMap((host, index) => {
      const holder = holders.get(host);
      holders.set(host, name);
      const faults: string[] = [];
      if (holder !== undefined) faults.push(`${host} is a host of ${holder} too`);
      if (host.endsWith(`.${edgeDomain}`)) {
        faults.push(`${host} is below the edge domain, where VMs have their names`);
      }
      return faults.map((message) => ({ origin: name, index, message }));
    }),
  );
}
