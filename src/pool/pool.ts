import { mkdir } from 'node:fs/promises';
import type { Closable } from '../base/index.ts';
import { type InstalledApplication, loadApplications } from './applications/application-table.ts';
import type { DeployRequest } from './applications/deploy-request.ts';
import { sharesDisks } from './disks/disk-sharing.ts';
import { poolError } from './errors.ts';
import type { ExecOptions, ExecOutcome } from './guest-commands/guest-commands.ts';
import { ImageLibrary, type OwnImage } from './image-library.ts';
import { letGoOf } from './image-withdrawal.ts';
import { assignMachines } from './machine-assignment.ts';
import { poolMetrics } from './metrics.ts';
import { Operations } from './operations.ts';
import type { PoolDeps, PoolOptions } from './pool-deps.ts';
import { SavedMachines } from './saved-machines.ts';
import type { Operation, SuspendedBy, Upgrade, Vm } from './schema.ts';
import { Snapshots } from './snapshots.ts';
import { loadRunningUpgrades } from './upgrade-table.ts';
import { Upgrades } from './upgrades.ts';
import type { VersionedVm } from './versioned-vm.ts';
import { VmFactory } from './vm-factory.ts';
import { VmGuests } from './vm-guests.ts';
import { type Once, type VmRequest, VmRequests } from './vm-requests.ts';
import { VmSnapshots } from './vm-snapshots.ts';
import type { FoundMachine } from './vm-supervisor.ts';
import { deleteVm, loadMachines, loadVmRecords, saveVm } from './vm-table.ts';
import { imagesOf, numbersOf } from './vm-versions.ts';

/** Longer than a guest may take to show that it lives; an image that is fetched again meanwhile is not waited for. */
const ADOPTION_LIMIT_MS = 6000;

/** What an earlier process of ours left to go on with. */
interface Found {
  readonly operations: Operations;
  readonly upgrades: readonly Upgrade[];
  readonly installed: readonly InstalledApplication[];
  readonly saved: SavedMachines;
  readonly snapshots: Snapshots;
  /** By their digests. */
  readonly imagesWithDisks: ReadonlySet<string>;
}

/**
 * The virtual machines of this host. What is wanted is in the store before anything is done about it. Machines outlive a
 * crash of ours: those that are still wanted are taken over as they run, the others ended, and what is missing is started.
 */
export class Pool implements Closable {
  readonly #deps: PoolDeps;
  readonly #operations: Operations;
  readonly #library: ImageLibrary;
  readonly #requests: VmRequests;
  readonly #factory: VmFactory;
  readonly #saved: SavedMachines;
  readonly snapshots: VmSnapshots;
  readonly upgrades: Upgrades;
  readonly #guests: VmGuests;
  readonly #vms = new Map<string, VersionedVm>();
  readonly #listeners = new Set<() => void>();
  readonly #metrics: ReturnType<typeof poolMetrics>;
  #quiet: ((vm: string) => Promise<void>) | undefined;
  /** Ends what takes long when the pool ends. */
  readonly #ending = new AbortController();
  #closing: Promise<void> | undefined;

  private constructor(
    deps: PoolDeps,
    options: PoolOptions,
    { operations, upgrades, installed, imagesWithDisks, saved, snapshots }: Found,
  ) {
    this.#deps = deps;
    this.#saved = saved;
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
        newVm: (record) => this.#factory.make(record),
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
    this.#factory = new VmFactory(
      {
        ...deps,
        library: this.#library,
        snapshots,
        saved: this.#saved,
        furnish: ({ name }, place, signal) => this.#guests.furnish(name, place, signal),
        quiet: async (vm) => this.#quiet?.(vm),
        checkRoom: (vm) => this.#requests.checkRoom(vm),
        onChange: (change) => {
          if (change) this.#observe(change.vm, change.previous);
          this.#announce();
        },
        ending: this.#ending.signal,
      },
      options,
      imagesWithDisks,
    );
    this.snapshots = new VmSnapshots({
      kept: snapshots,
      find: (name) => this.#find(name),
      bringBack: (vm, label) => this.#factory.bringBack(vm, label),
    });
    this.upgrades = new Upgrades({ ...deps, requests: this.#requests, list: () => this.list() }, upgrades);
    this.#metrics = poolMetrics(deps.registry, () => this.list());
  }

  static async start(deps: PoolDeps, options: PoolOptions): Promise<Pool> {
    const { clock, log, store, hypervisor, disks, images } = deps;
    await mkdir(options.imageDirectoryRoot, { recursive: true });
    const records = await loadVmRecords(store.db);
    const left = await hypervisor.takeOver();
    const imagesOnDisks = (await images.list()).filter(({ manifest }) => manifest.disks !== undefined);
    const withDisks = new Set(imagesOnDisks.map(({ digest }) => digest));
    const { kept, unwanted } = assignMachines(
      records,
      await loadMachines(store.db),
      left.machines,
      (one, other) => sharesDisks(one, other, withDisks),
    );
    await Promise.all(unwanted.map((machine) => machine.stop()));
    await disks.collect(new Map(records.map(({ name, versions }) => [name, imagesOf(versions)])));
    const saved = new SavedMachines(options.savedFolder);
    await saved.collect(new Map(records.map(({ name, versions }) => [name, numbersOf(versions)])));
    const snapshots = new Snapshots(deps, options.savedFolder);
    for (const { name } of records) await snapshots.collect(name);
    const endedCount = left.endedCount + unwanted.length;
    if (kept.length > 0) log.info({ count: kept.length }, 'took over machines of an earlier process');
    if (endedCount > 0) log.warn({ count: endedCount }, 'ended machines of an earlier process');
    const pool = new Pool(deps, options, {
      operations: await Operations.open(deps),
      upgrades: await loadRunningUpgrades(store.db),
      installed: await loadApplications(store.db),
      imagesWithDisks: withDisks,
      saved,
      snapshots,
    });
    for (const record of records) {
      const own = kept.filter(({ name }) => name === record.name);
      const found = new Map<number, FoundMachine>(own.map(({ version, machine }) => [version, machine]));
      const { version } = record.versions.current;
      const suspendedBy = found.has(version) ? undefined : record.suspendedBy;
      if (suspendedBy) found.set(version, 'suspended');
      else if (record.suspendedBy) {
        // It was being suspended when we died, and is not any more: nor is it at the next start.
        await store.transaction((transaction) => saveVm(transaction, { ...record, suspendedBy }));
      }
      pool.#vms.set(record.name, pool.#factory.make({ ...record, suspendedBy }, found));
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

  /** Ends a VM and forgets it, with all that it wrote to its disks. @throws `vm_not_found` */
  async remove(name: string): Promise<void> {
    const vm = this.#find(name);
    const { store, disks } = this.#deps;
    await vm.end(() =>
      store.transaction(async (transaction) => {
        await deleteVm(transaction, name);
        await this.#guests.applications.deleteOf(transaction, name);
      }),
    );
    await this.#guests.applications.forget(name);
    await disks.remove(name);
    await this.#saved.forgetVm(name);
    if (this.#vms.get(name) === vm) this.#vms.delete(name);
    this.#announce();
  }

  /**
   * Ends a VM's machine for now; what it was is kept on the disk. Resolves when that is so.
   *
   * @param by `idleness`: the next request brings it back; `operator`: only `resume` does.
   * @throws `vm_not_found`, `vm_not_ready`, `vm_conflict` while it is changed, or why it could not be.
   */
  suspend(name: string, by: SuspendedBy): Promise<void> {
    return this.#find(name).suspend(by);
  }

  /**
   * Brings a suspended VM back; resolves when its machine is on its way.
   *
   * @throws `vm_not_found`, `configuration_too_large` when there is no room for it.
   */
  resume(name: string): Promise<void> {
    return this.#find(name).resume();
  }

  /** Somebody asks for this VM: one that was suspended for idleness is brought back. */
  wake(name: string): void {
    this.#vms.get(name)?.wake();
  }

  /** Before a VM is suspended, and no new request goes to it, waits for `quiet`; until it is disposed of. */
  beforeSuspension(quiet: (vm: string) => Promise<void>): Disposable {
    this.#quiet = quiet;
    return {
      [Symbol.dispose]: () => {
        this.#quiet = undefined;
      },
    };
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
    await letGoOf(digest, own);
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
    this.#ending.abort(new Error('the pool is being closed'));
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.upgrades.close();
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

  #imagesInUse(): ReadonlySet<string> {
    return new Set([...this.#vms.values()].flatMap(({ versions }) => Array.from(imagesOf(versions))));
  }

  #observe(vm: Vm, previous: Vm['phase']): void {
    const { name, version, phase, reason, lastStart } = vm;
    this.#deps.log.info({ vm: name, version, phase, reason, ...lastStart }, 'vm changed phase');
    this.#metrics.observe(vm, previous);
  }

  #announce(): void {
    // A VM that ends with us goes on at the next start, and so does what was to become of it.
    if (!this.#ending.signal.aborted) {
      this.#operations.observe((name) => this.#vms.get(name)?.describe());
      this.upgrades.observe();
    }
    for (const listener of this.#listeners) listener();
  }
}
