import { mkdir } from 'node:fs/promises';
import { availableParallelism, totalmem } from 'node:os';
import type { Clock, Closable, Random } from '../base/index.ts';
import { formatBytes } from '../base/index.ts';
import type { Store } from '../platform/store/index.ts';
import type { Log, Registry } from '../platform/telemetry/index.ts';
import { poolError } from './errors.ts';
import type { Hypervisor } from './hypervisor/hypervisor.ts';
import { parseImageRef, resolveImageRef } from './images/image-ref.ts';
import type { ImageStore, StoredImage } from './images/image-store.ts';
import { poolMetrics } from './metrics.ts';
import { type HttpProbe, probeHttp } from './readiness.ts';
import type { Configuration, Vm } from './schema.ts';
import type { VmState } from './vm-state.ts';
import { type VmSpec, VmSupervisor } from './vm-supervisor.ts';
import {
  deleteVmSpec,
  insertVmSpec,
  loadVmSpecs,
  type PoolTables,
  recordImageDigest,
  recordOwnerNote,
} from './vm-table.ts';

export interface PoolDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly registry: Registry;
  readonly store: Store<PoolTables>;
  readonly images: ImageStore;
  readonly hypervisor: Hypervisor;
  readonly probe?: HttpProbe;
}

export interface PoolOptions {
  /** The folder below which an origin may name a directory as its image. */
  readonly imageDirectoryRoot: string;
  /** Servers from which an owner's images may be fetched. */
  readonly imageHosts: (owner: string) => readonly string[];
  readonly maxVms: number;
  /** How many of them one owner may have. */
  readonly maxVmsOf: (owner: string) => number;
  /** How long a guest may take from its start to its first answer. */
  readonly readyTimeoutMs: number;
}

/** What an owner asks for. */
export interface VmRequest {
  readonly name: string;
  readonly owner: string;
  readonly imageRef: string;
  readonly imageDigest?: string | undefined;
  readonly configuration: Configuration;
  readonly ownerNote?: string;
}

/**
 * The virtual machines of this host. What is wanted is in the store before anything is done about it; after a crash of
 * ours every VM that was wanted is started again.
 */
export class Pool implements Closable {
  readonly #deps: PoolDeps;
  readonly #options: PoolOptions;
  readonly #vms = new Map<string, VmSupervisor>();
  readonly #listeners = new Set<() => void>();
  readonly #metrics: ReturnType<typeof poolMetrics>;
  #closing: Promise<void> | undefined;

  private constructor(deps: PoolDeps, options: PoolOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#metrics = poolMetrics(deps.registry, () => this.list());
  }

  static async start(deps: PoolDeps, options: PoolOptions): Promise<Pool> {
    await mkdir(options.imageDirectoryRoot, { recursive: true });
    const strays = await deps.hypervisor.endStrays();
    if (strays > 0) deps.log.warn({ count: strays }, 'ended machines of an earlier process');
    const pool = new Pool(deps, options);
    for (const spec of await loadVmSpecs(deps.store.db)) pool.#supervise(spec);
    return pool;
  }

  list(): Vm[] {
    return [...this.#vms.values()].map((supervisor) => supervisor.describe());
  }

  /** @throws `vm_not_found` */
  get(name: string): Vm {
    return this.#find(name).describe();
  }

  /**
   * Asks for a VM. Asked again for the same, it answers with the one that is there, with the owner's new note; one that was
   * given up is tried anew.
   *
   * @throws `vm_conflict` when the name is taken by another image, configuration or owner, `pool_full`, `quota_exceeded`,
   *   `configuration_too_large`, and what is wrong with the reference.
   */
  async create(request: VmRequest): Promise<Vm> {
    const present = this.#vms.get(request.name);
    if (present) return this.#askAgain(present, request);
    const ref = parseImageRef(request.imageRef);
    // Told at once, not found out later by a VM that fails.
    if (ref.kind === 'stored') await this.#storedImage(ref.digest);
    else await resolveImageRef(this.#deps.clock, ref, this.#policyFor(request.owner));

    const again = this.#vms.get(request.name);
    if (again) return this.#askAgain(again, request);
    this.#checkFits(request);
    const supervisor = this.#newSupervisor({
      ownerNote: '',
      ...request,
      createdAtMs: this.#deps.clock.nowMs(),
    });
    // Taken before the write: of two requests at once the second sees the first.
    this.#vms.set(request.name, supervisor);
    try {
      await insertVmSpec(this.#deps.store.db, supervisor.spec);
    } catch (error) {
      this.#vms.delete(request.name);
      throw error;
    }
    supervisor.start();
    this.#announce();
    return supervisor.describe();
  }

  /** Ends a VM and forgets it. @throws `vm_not_found` */
  async remove(name: string): Promise<void> {
    const supervisor = this.#find(name);
    await deleteVmSpec(this.#deps.store.db, name);
    await supervisor.stop();
    if (this.#vms.get(name) === supervisor) this.#vms.delete(name);
    this.#announce();
  }

  /** What the guest last wrote to its console. @throws `vm_not_found` */
  async consoleTail(name: string): Promise<string> {
    const { machineId } = this.#find(name);
    return machineId === undefined ? '' : this.#deps.hypervisor.consoleTail(machineId);
  }

  /** Calls `listener` after every change of any VM, until it is disposed of. */
  subscribe(listener: () => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** Resolves with the VM once it is ready or has failed; with what it is when `signal` aborts first. */
  async settled(name: string, signal: AbortSignal): Promise<Vm> {
    const isSettled = () => ['ready', 'failed', 'stopping'].includes(this.get(name).phase);
    await new Promise<void>((resolve) => {
      if (isSettled() || signal.aborted) {
        resolve();
        return;
      }
      const finish = () => {
        subscription[Symbol.dispose]();
        signal.removeEventListener('abort', finish);
        resolve();
      };
      const subscription = this.subscribe(() => {
        if (!this.#vms.has(name) || isSettled()) finish();
      });
      signal.addEventListener('abort', finish, { once: true });
    });
    return this.get(name);
  }

  /** Ends the machines; the VMs stay wanted and come back at the next start. */
  close(): Promise<void> {
    this.#closing ??= Promise.all([...this.#vms.values()].map((supervisor) => supervisor.stop())).then(
      () => undefined,
    );
    return this.#closing;
  }

  #find(name: string): VmSupervisor {
    const supervisor = this.#vms.get(name);
    if (!supervisor) throw poolError('vm_not_found', `no VM is named ${JSON.stringify(name)}`);
    return supervisor;
  }

  async #askAgain(supervisor: VmSupervisor, request: VmRequest): Promise<Vm> {
    const { spec } = supervisor;
    if (supervisor.state.phase === 'stopping') {
      throw poolError('vm_conflict', `the VM ${request.name} is being stopped; ask again when it is gone`);
    }
    const differs =
      (spec.owner !== request.owner && 'owner') ||
      (spec.imageRef !== request.imageRef && 'image') ||
      (request.imageDigest !== undefined &&
        spec.imageDigest !== undefined &&
        spec.imageDigest !== request.imageDigest &&
        'image digest') ||
      (JSON.stringify(spec.configuration) !== JSON.stringify(request.configuration) && 'configuration');
    if (differs) {
      throw poolError(
        'vm_conflict',
        `a VM named ${request.name} is there with another ${differs}; stop it first`,
      );
    }
    const { ownerNote = spec.ownerNote } = request;
    if (ownerNote !== spec.ownerNote) {
      await recordOwnerNote(this.#deps.store.db, spec.name, ownerNote);
      supervisor.ownerNote = ownerNote;
      this.#announce();
    }
    supervisor.start();
    return supervisor.describe();
  }

  #checkFits({ owner, configuration }: VmRequest): void {
    const { maxVms, maxVmsOf } = this.#options;
    if (this.#vms.size >= maxVms) throw poolError('pool_full', `this pool runs ${maxVms} VMs at the most`);
    const own = this.list().filter((vm) => vm.owner === owner).length;
    if (own >= maxVmsOf(owner)) {
      throw poolError('quota_exceeded', `${owner} may have ${maxVmsOf(owner)} VMs here; it has ${own}`);
    }
    const cpus = availableParallelism();
    if (configuration.cpus > cpus) {
      throw poolError(
        'configuration_too_large',
        `${configuration.cpus} CPUs were asked for; this host has ${cpus}`,
      );
    }
    const memoryBytes = totalmem();
    const reserved = this.list().reduce((sum, vm) => sum + vm.configuration.memoryBytes, 0);
    if (reserved + configuration.memoryBytes > memoryBytes) {
      throw poolError(
        'configuration_too_large',
        `${formatBytes(configuration.memoryBytes)} of memory were asked for; ` +
          `${formatBytes(Math.max(0, memoryBytes - reserved))} of ${formatBytes(memoryBytes)} are not taken by other VMs`,
      );
    }
  }

  #supervise(spec: VmSpec): void {
    const supervisor = this.#newSupervisor(spec);
    this.#vms.set(spec.name, supervisor);
    supervisor.start();
  }

  #newSupervisor(spec: VmSpec): VmSupervisor {
    const { clock, random, log, hypervisor, probe = probeHttp } = this.#deps;
    return new VmSupervisor(
      {
        clock,
        random,
        log,
        hypervisor,
        probe,
        fetchImage: (wanted, signal) => this.#fetchImage(wanted, signal),
        onChange: (supervisor, previous) => this.#changed(supervisor, previous),
      },
      spec,
      this.#options.readyTimeoutMs,
    );
  }

  async #fetchImage(spec: VmSpec, signal: AbortSignal): Promise<StoredImage> {
    const { clock, images, store } = this.#deps;
    const held = spec.imageDigest === undefined ? undefined : await images.find(spec.imageDigest);
    if (held) return held;
    const ref = parseImageRef(spec.imageRef);
    if (ref.kind === 'stored') return this.#storedImage(ref.digest);
    const source = await resolveImageRef(clock, ref, this.#policyFor(spec.owner));
    const image = await images.import(source, { expectedDigest: spec.imageDigest, signal });
    if (spec.imageDigest === undefined) await recordImageDigest(store.db, spec.name, image.digest);
    return image;
  }

  async #storedImage(digest: string): Promise<StoredImage> {
    const image = await this.#deps.images.find(digest);
    if (!image) throw poolError('image_not_found', `no image ${digest} is stored here`);
    return image;
  }

  #policyFor(owner: string) {
    return { directoryRoot: this.#options.imageDirectoryRoot, urlHosts: this.#options.imageHosts(owner) };
  }

  #changed(supervisor: VmSupervisor, previous: VmState['phase']): void {
    const vm = supervisor.describe();
    this.#deps.log.info(
      { vm: vm.name, phase: vm.phase, reason: vm.reason, ...vm.lastStart },
      'vm changed phase',
    );
    if (vm.phase === 'ready' && vm.lastStart) this.#metrics.observeStart(vm.lastStart);
    if (previous === 'ready' && vm.phase !== 'stopping') this.#metrics.countCrash();
    this.#announce();
  }

  #announce(): void {
    for (const listener of this.#listeners) listener();
  }
}
