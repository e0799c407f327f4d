import { mkdir } from 'node:fs/promises';
import type { Clock, Closable, Random } from '../base/index.ts';
import type { Store } from '../platform/store/index.ts';
import type { Log, Registry } from '../platform/telemetry/index.ts';
import type { GuestPlace } from './applications/application-installer.ts';
import type { ApplicationStore } from './applications/application-store.ts';
import { type InstalledApplication, loadApplications } from './applications/application-table.ts';
import type { DeployRequest } from './applications/deploy-request.ts';
import { poolError } from './errors.ts';
import type { ExecOptions, ExecOutcome } from './guest-commands/guest-commands.ts';
import type { Hypervisor, Machine } from './hypervisor/hypervisor.ts';
import { ImageLibrary, type OwnImage } from './image-library.ts';
import type { ImageStore, StoredImage } from './images/image-store.ts';
import { assignMachines } from './machine-assignment.ts';
import { poolMetrics } from './metrics.ts';
import { Operations } from './operations.ts';
import { type HttpProbe, probeHttp } from './readiness.ts';
import type { Operation, Vm } from './schema.ts';
import type { PoolTables } from './tables.ts';
import { VersionedVm } from './versioned-vm.ts';
import { VmGuests } from './vm-guests.ts';
import { type Once, type VmQuotas, type VmRequest, VmRequests } from './vm-requests.ts';
import { type VmSpec, VmSupervisor } from './vm-supervisor.ts';
import {
  deleteVm,
  loadMachines,
  loadVmRecords,
  saveMachine,
  saveVersions,
  type VmRecord,
} from './vm-table.ts';

export interface PoolDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly registry: Registry;
  readonly store: Store<PoolTables>;
  readonly images: ImageStore;
  readonly applications: ApplicationStore;
  readonly hypervisor: Hypervisor;
  readonly probe?: HttpProbe;
}

export interface PoolOptions extends VmQuotas {
  /** The folder below which an origin may name a directory as its image. */
  readonly imageDirectoryRoot: string;
  /** Servers from which an owner's images may be fetched: `host` or `host:port`. */
  readonly imageHosts: (owner: string) => readonly string[];
  /** The owner's own server, `host:port`, when it has one: images may come from it also where it has a local address. */
  readonly upstreamOf?: (owner: string) => string | undefined;
  /** What the images that were fetched for VMs may take on the disk together; no limit when absent. */
  readonly imageLimitBytes?: number;
  /** How long a guest may take from its start to its first answer. */
  readonly readyTimeoutMs: number;
}

/** Longer than a guest may take to show that it lives; an image that is fetched again meanwhile is not waited for. */
const ADOPTION_LIMIT_MS = 6000;

/**
 * The virtual machines of this host. What is wanted is in the store before anything is done about it. Machines outlive a
 * crash of ours: those that are still wanted are taken over as they run, the others ended, and what is missing is started.
 */
export class Pool implements Closable {
  readonly #deps: PoolDeps;
  readonly #options: PoolOptions;
  readonly #operations: Operations;
  readonly #library: ImageLibrary;
  readonly #requests: VmRequests;
  readonly #guests: VmGuests;
  readonly #vms = new Map<string, VersionedVm>();
  readonly #listeners = new Set<() => void>();
  readonly #metrics: ReturnType<typeof poolMetrics>;
  #isClosing = false;
  #closing: Promise<void> | undefined;

  private constructor(
    deps: PoolDeps,
    options: PoolOptions,
    operations: Operations,
    installed: readonly InstalledApplication[],
  ) {
    this.#deps = deps;
    this.#options = options;
    this.#operations = operations;
    const policyFor = (owner: string) => ({
      directoryRoot: options.imageDirectoryRoot,
      servers: { listed: options.imageHosts(owner), ownServer: options.upstreamOf?.(owner) },
    });
    this.#library = new ImageLibrary(deps, {
      policyFor,
      limitBytes: options.imageLimitBytes ?? Number.POSITIVE_INFINITY,
      inUse: () => this.#imagesInUse(),
    });
    this.#requests = new VmRequests(
      {
        ...deps,
        operations,
        library: this.#library,
        vms: this.#vms,
        newVm: (record) => this.#newVm(record),
        announce: () => this.#announce(),
      },
      options,
    );
    const { readyTimeoutMs } = options;
    this.#guests = new VmGuests(
      {
        ...deps,
        operations,
        vms: this.#vms,
        subscribe: (listener) => this.subscribe(listener),
        announce: () => this.#announce(),
      },
      { policyFor, readyTimeoutMs },
      installed,
    );
    this.#metrics = poolMetrics(deps.registry, () => this.list());
  }

  static async start(deps: PoolDeps, options: PoolOptions): Promise<Pool> {
    const { clock, store, hypervisor } = deps;
    await mkdir(options.imageDirectoryRoot, { recursive: true });
    const records = await loadVmRecords(store.db);
    const left = await hypervisor.takeOver();
    const { kept, unwanted } = assignMachines(records, await loadMachines(store.db), left.machines);
    await Promise.all(unwanted.map((machine) => machine.stop()));
    reportLeftMachines(deps.log, kept.length, left.endedCount + unwanted.length);
    const pool = new Pool(deps, options, await Operations.open(deps), await loadApplications(store.db));
    for (const record of records) {
      const own = kept.filter(({ name }) => name === record.name);
      const machines = new Map(own.map(({ version, machine }) => [version, machine]));
      pool.#vms.set(record.name, pool.#newVm(record, machines));
    }
    for (const vm of pool.#vms.values()) vm.start();
    await pool.#guests.applications.resume();
    // What serves already is not to be missing from the first routes that the gateway makes.
    const known = new AbortController();
    void Promise.all([...pool.#vms.values()].map((vm) => vm.adoption)).then(() => known.abort());
    await clock.sleep(ADOPTION_LIMIT_MS, known.signal).catch(() => undefined);
    pool.#announce();
    return pool;
  }

  list(): Vm[] {
    return [...this.#vms.values()].map((vm) => this.#describe(vm));
  }

  /** @throws `vm_not_found` */
  get(name: string): Vm {
    return this.#describe(this.#find(name));
  }

  /**
   * Asks for a VM. Asked again for the same, it answers with the one that is there, with the owner's new note; one that was
   * given up is tried anew.
   *
   * @throws `vm_conflict` when the name is taken by another image, configuration or owner, `pool_full`, `quota_exceeded`,
   *   `configuration_too_large`, `request_key_reused`, and what is wrong with the reference.
   */
  create(request: VmRequest, once?: Once): Promise<Operation> {
    return this.#requests.create(request, once);
  }

  /**
   * Asks for a VM to be like this from now on: a new one when there is none; when there is another, a new version, which
   * takes the place of the old one when it is ready.
   *
   * @throws as `create`, but never `vm_conflict` for another image or configuration.
   */
  change(request: VmRequest, once?: Once): Promise<Operation> {
    return this.#requests.change(request, once);
  }

  /**
   * Goes back to the version before, or calls off a change that is under way.
   *
   * @throws `vm_not_found`, `previous_version_missing`, and what `change` throws for a machine that there is no room for.
   */
  rollBack(name: string, owner: string, once?: Once): Promise<Operation> {
    return this.#requests.rollBack(name, owner, once);
  }

  /** @throws `operation_not_found`, also for one of another owner. */
  operation(owner: string, id: string): Promise<Operation> {
    return this.#operations.get(owner, id);
  }

  /** Resolves with the operation once it is over; with what it is when `signal` aborts first. */
  settled(operation: Operation, signal: AbortSignal): Promise<Operation> {
    return this.#operations.settled(operation, signal);
  }

  /** Ends a VM and forgets it. @throws `vm_not_found` */
  async remove(name: string): Promise<void> {
    const vm = this.#find(name);
    await vm.end(() =>
      this.#deps.store.transaction(async (transaction) => {
        await deleteVm(transaction, name);
        await this.#guests.applications.deleteOf(transaction, name);
      }),
    );
    await this.#guests.applications.forget(name);
    if (this.#vms.get(name) === vm) this.#vms.delete(name);
    this.#announce();
  }

  /** The images that this owner's VMs ran from. */
  imagesOf(owner: string): Promise<OwnImage[]> {
    return this.#library.list(owner);
  }

  /**
   * No VM of this owner starts from the image any more.
   *
   * @throws `image_in_use` while one of its VMs is to run from it, `image_not_found` when none ever did.
   */
  async withdrawImage(owner: string, digest: string): Promise<void> {
    const own = [...this.#vms.values()].filter((vm) => vm.owner === owner);
    for (const vm of own) {
      const { current, next } = vm.versions;
      if (![current, next].some((version) => version?.imageDigest === digest)) continue;
      throw poolError(
        'image_in_use',
        `the VM ${vm.name} runs from it; give that another version, or stop it`,
      );
    }
    for (const vm of own) {
      if (vm.versions.previous?.imageDigest !== digest) continue;
      await vm.change(() => ({ event: { kind: 'withdrawn', imageDigest: digest } }));
    }
    await this.#library.withdraw(owner, digest);
  }

  /** What the guest last wrote to its console. @throws `vm_not_found` */
  async consoleTail(name: string): Promise<string> {
    const { machineId } = this.#find(name);
    return machineId === undefined ? '' : this.#deps.hypervisor.consoleTail(machineId);
  }

  /**
   * Puts an application into a VM that runs, in the place of what serves there [gateway G14]. The operation ends when it
   * answers; when it does not in time, what served before is put back.
   *
   * @throws `vm_not_found`, `application_not_found`, `request_key_reused`, and what is wrong with the reference.
   */
  deploy(request: DeployRequest, once?: Once): Promise<Operation> {
    return this.#guests.deploy(request, once);
  }

  /** Takes the application out of a VM: what its image serves is back. @throws `vm_not_found`, `application_not_found` */
  withdrawApplication(vm: string, owner: string, once?: Once): Promise<Operation> {
    return this.#guests.withdraw(vm, owner, once);
  }

  /**
   * Runs a program in the guest of a VM that is ready. No shell comes between: each argument arrives as it is.
   *
   * @throws `vm_not_found`, `vm_not_ready`, `guest_agent_missing`, `guest_busy`, `guest_command_failed`,
   *   `guest_command_invalid`, `guest_command_timeout`
   */
  async exec(name: string, argv: readonly string[], options: ExecOptions): Promise<ExecOutcome> {
    return this.#guests.exec(this.#find(name), argv, options);
  }

  /** Calls `listener` after every change of any VM, until it is disposed of. */
  subscribe(listener: () => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** Ends the machines; the VMs stay wanted and come back at the next start. */
  close(): Promise<void> {
    this.#isClosing = true;
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#guests.close();
    await Promise.all([...this.#vms.values()].map((vm) => vm.close()));
    await this.#operations.close();
  }

  #describe(vm: VersionedVm): Vm {
    return { ...vm.describe(), ...this.#guests.applications.describe(vm.name) };
  }

  #find(name: string): VersionedVm {
    const vm = this.#vms.get(name);
    if (!vm) throw poolError('vm_not_found', `no VM is named ${JSON.stringify(name)}`);
    return vm;
  }

  /** @param machines those that run for it already, by its version. */
  #newVm(record: VmRecord, machines: ReadonlyMap<number, Machine> = new Map()): VersionedVm {
    const { clock, random, log, store, hypervisor, probe = probeHttp } = this.#deps;
    const vm: VersionedVm = new VersionedVm(
      {
        clock,
        log,
        supervise: (spec, onChange) => {
          const fetchImage = (wanted: VmSpec, signal: AbortSignal) => this.#fetchImage(vm, wanted, signal);
          const recordMachine = ({ name, version }: VmSpec, machineId: string) =>
            saveMachine(store.db, { name, version, machineId });
          const furnish = ({ name }: VmSpec, place: GuestPlace, signal: AbortSignal) =>
            this.#guests.applications.bringTo(name, place, signal);
          const deps = {
            clock,
            random,
            log,
            hypervisor,
            probe,
            fetchImage,
            recordMachine,
            furnish,
            onChange,
          };
          return new VmSupervisor(deps, spec, this.#options.readyTimeoutMs, machines.get(spec.version));
        },
        save: (versions, also) =>
          store.transaction(async (transaction) => {
            await saveVersions(transaction, record.name, versions);
            await also?.(transaction);
          }),
        onChange: (change) => {
          if (change) this.#observe(change.vm, change.previous);
          this.#announce();
        },
      },
      record,
    );
    return vm;
  }

  async #fetchImage(vm: VersionedVm, spec: VmSpec, signal: AbortSignal): Promise<StoredImage> {
    const { version } = spec;
    try {
      const image = await this.#library.fetch(spec, signal, (progress) => vm.showProgress(version, progress));
      if (spec.imageDigest === undefined) await vm.pin(version, image.digest);
      return image;
    } finally {
      vm.showProgress(version, undefined);
    }
  }

  #imagesInUse(): ReadonlySet<string> {
    const versions = [...this.#vms.values()].flatMap((vm) => [
      vm.versions.current,
      vm.versions.next,
      vm.versions.previous,
    ]);
    return new Set(versions.flatMap((version) => version?.imageDigest ?? []));
  }

  #observe(vm: Vm, previous: Vm['phase']): void {
    const { name, version, phase, reason, lastStart } = vm;
    this.#deps.log.info({ vm: name, version, phase, reason, ...lastStart }, 'vm changed phase');
    if (phase === 'ready' && lastStart) this.#metrics.observeStart(lastStart);
    if (previous === 'ready' && phase !== 'stopping') this.#metrics.countCrash();
  }

  #announce(): void {
    // A VM that ends with us goes on at the next start, and so does what was to become of it.
    if (!this.#isClosing) this.#operations.observe((name) => this.#vms.get(name)?.describe());
    for (const listener of this.#listeners) listener();
  }
}

function reportLeftMachines(log: Log, keptCount: number, endedCount: number): void {
  if (keptCount > 0) log.info({ count: keptCount }, 'took over machines of an earlier process');
  if (endedCount > 0) log.warn({ count: endedCount }, 'ended machines of an earlier process');
}
