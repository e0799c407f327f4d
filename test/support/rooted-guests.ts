import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../src/base/index.ts';
import { endProcess } from '../../src/platform/process/index.ts';
import { linksFor, type MachineLink } from '../../src/pool/hypervisor/qemu/machine-link.ts';
import { type Machine, QemuHypervisor, type StoredImage, VmDisks } from '../../src/pool/index.ts';
import { probeHttp, untilReady } from '../../src/pool/readiness.ts';
import { QEMU_DEPS } from './qemu-deps.ts';
import { rootedImage } from './rooted-image.ts';
import { machinesIn, PATIENCE_MS } from './running-orilla.ts';
import { storedImage } from './web-image.ts';

export const GUEST = { cpus: 1, memoryBytes: 192 * 2 ** 20, diskBytes: 8 * 2 ** 20 };

/** Runs a script in a guest of the rooted image, as its root. */
export async function inside({ addresses: [{ host, port }] }: Machine, script: string): Promise<string> {
  const options = { method: 'POST', body: script, signal: AbortSignal.timeout(PATIENCE_MS) };
  return (await fetch(`http://${host}:${port}/cgi-bin/run`, options)).text();
}

/** Machines whose guests do, as root, whatever a test sends them. */
export class RootedGuests {
  readonly #folder: string;
  readonly #image: StoredImage;
  readonly hypervisor: QemuHypervisor;

  private constructor(folder: string, image: StoredImage) {
    this.#folder = folder;
    this.#image = image;
    this.hypervisor = new QemuHypervisor(QEMU_DEPS, this.runFolder);
  }

  static async make(): Promise<RootedGuests> {
    const folder = mkdtempSync(join(tmpdir(), 'o-'));
    const image = await storedImage(await rootedImage(join(folder, 'rooted')), join(folder, 'images'));
    return new RootedGuests(folder, image);
  }

  get runFolder(): string {
    return join(this.#folder, 'run');
  }

  async start(name: string): Promise<Machine> {
    const signal = AbortSignal.timeout(PATIENCE_MS);
    const disks = await new VmDisks(join(this.#folder, 'vms')).prepare(name, this.#image, GUEST, signal);
    const spec = { name, image: this.#image, configuration: GUEST, disks };
    const machine = await this.hypervisor.start(spec, signal, async () => undefined);
    await untilReady(systemClock, probeHttp, machine.addresses[0], '/', signal);
    return machine;
  }

  /** The file of a guest's disk. */
  diskOf(name: string): string {
    return join(this.#folder, 'vms', name, 'data.raw');
  }

  urlOf({ addresses: [{ host, port }] }: Machine): string {
    return `http://${host}:${port}`;
  }

  /** Runs a script in a guest, as its root. */
  inside(machine: Machine, script: string): Promise<string> {
    return inside(machine, script);
  }

  /** The link between the host and a confined machine. */
  linkOf({ id, addresses }: Machine): MachineLink {
    for (const link of linksFor(join(this.runFolder, id), 16)) {
      if (link.machineAddress === addresses[0].host) return link;
    }
    throw new Error(`${id} has no link`);
  }

  /** Frames that came out of a confined machine to the host, whosever they were. */
  framesOutOf(machine: Machine): number {
    const { name } = this.linkOf(machine);
    return Number(readFileSync(`/sys/class/net/${name}/statistics/rx_packets`, 'utf8'));
  }

  async close(): Promise<void> {
    await Promise.all(machinesIn(this.#folder).map((machine) => endProcess(systemClock, machine, 0)));
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
