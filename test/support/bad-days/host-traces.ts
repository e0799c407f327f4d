import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import { machineLink } from '../../../src/pool/hypervisor/qemu/machine-link.ts';
import { machinesIn, workersIn } from '../running-orilla.ts';

/** A QEMU process as the kernel shows it. */
export interface SeenMachine {
  readonly pid: number;
  /** The name of its run folder. */
  readonly id: string;
  /** Disks of VMs that it has open. */
  readonly disks: readonly string[];
}

/** What an Orilla has on its host, seen from outside: processes, links, files. */
export class HostTraces {
  readonly #data: string;
  readonly #links = new Map<string, string>();

  constructor(data: string) {
    this.#data = data;
  }

  /** @throws when two of them have one disk. */
  look(): readonly SeenMachine[] {
    const machines = machinesIn(this.#data).flatMap(({ pid }) => this.#machine(pid) ?? []);
    for (const { id } of machines) this.#noteLink(id);
    const disks = machines.flatMap((machine) => machine.disks);
    const twice = disks.filter((disk, index) => disks.indexOf(disk) !== index);
    if (twice.length > 0) throw new Error(`two machines have one disk: ${JSON.stringify(machines)}`);
    return machines;
  }

  workers(): readonly number[] {
    return workersIn(this.#data).map(({ pid }) => pid);
  }

  /** Links that machines had which are not there any more. */
  orphanedLinks(): readonly string[] {
    const living = new Set(this.look().map(({ id }) => id));
    return [...this.#links]
      .filter(([link, id]) => !living.has(id) && existsSync(`/sys/class/net/${link}`))
      .map(([link]) => link);
  }

  /** Names in a folder of the data folder; none where that is not there. */
  namesIn(...path: readonly string[]): readonly string[] {
    const folder = join(this.#data, ...path);
    return existsSync(folder) ? readdirSync(folder).sort() : [];
  }

  #machine(pid: number): SeenMachine | undefined {
    const base = `/proc/${pid}`;
    try {
      const id = basename(readlinkSync(`${base}/cwd`));
      const open = readdirSync(`${base}/fd`).map((fd) => readlinkSync(`${base}/fd/${fd}`));
      return { pid, id, disks: [...new Set(open.filter((path) => path.endsWith('/data.raw')))] };
    } catch {
      // It ended while we looked.
      return undefined;
    }
  }

  #noteLink(id: string): void {
    try {
      const record = readFileSync(join(this.#data, 'run', id, 'machine.json'), 'utf8');
      const { linkIndex } = JSON.parse(record) as { linkIndex?: number };
      if (linkIndex !== undefined) this.#links.set(machineLink(linkIndex).name, id);
    } catch {
      // It is just being begun, or has just ended.
    }
  }
}
