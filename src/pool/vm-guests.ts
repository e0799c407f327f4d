import { type Clock, type Closable, deadline, messageOf, type Random } from '../base/index.ts';
import type { Store } from '../platform/store/index.ts';
import type { Log } from '../platform/telemetry/index.ts';
import { ApplicationInstaller, type StartedPlace } from './applications/application-installer.ts';
import { ApplicationLibrary } from './applications/application-library.ts';
import type { ApplicationStore } from './applications/application-store.ts';
import type { InstalledApplication } from './applications/application-table.ts';
import { Applications, type HeldGuest } from './applications/applications.ts';
import type { DeployRequest } from './applications/deploy-request.ts';
import { poolError } from './errors.ts';
import type { ExecOptions, ExecOutcome } from './guest-commands/guest-commands.ts';
import { commandsOf, GuestPrograms } from './guest-commands/guest-programs.ts';
import type { Machine } from './hypervisor/hypervisor.ts';
import type { ImageRefPolicy } from './images/image-ref.ts';
import type { Operations } from './operations.ts';
import { type HttpProbe, probeHttp } from './readiness.ts';
import type { Operation } from './schema.ts';
import type { PoolTables } from './tables.ts';
import type { VersionedVm } from './versioned-vm.ts';
import type { Once } from './vm-requests.ts';

export interface VmGuestsDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly store: Store<PoolTables>;
  readonly operations: Operations;
  readonly applications: ApplicationStore;
  readonly probe?: HttpProbe;
  /** By name; the pool's own. */
  readonly vms: ReadonlyMap<string, VersionedVm>;
  readonly subscribe: (listener: () => void) => Disposable;
  readonly announce: () => void;
}

export interface VmGuestsOptions {
  readonly policyFor: (owner: string) => ImageRefPolicy;
  /** What an application may take to its first answer. */
  readonly readyTimeoutMs: number;
}

/** A guest's agent that says nothing for so long, when it should set the clock, does not hold up the guest's answers. */
const CLOCK_LIMIT_MS = 1000;

/** What is done in the guests of VMs that run: programs, and applications in the place of what their images serve. */
export class VmGuests implements Closable {
  readonly #deps: VmGuestsDeps;
  readonly #programs = new GuestPrograms();
  readonly applications: Applications;

  /** @param installed as the store has them. */
  constructor(
    deps: VmGuestsDeps,
    { policyFor, readyTimeoutMs }: VmGuestsOptions,
    installed: readonly InstalledApplication[],
  ) {
    const { clock, log, applications: held, probe = probeHttp } = deps;
    this.#deps = deps;
    this.applications = new Applications(
      {
        ...deps,
        held,
        library: new ApplicationLibrary({ clock, store: held }, policyFor),
        installer: new ApplicationInstaller({ clock, log, probe }, readyTimeoutMs),
        hold: (vm, signal) => hold(deps, vm, signal),
      },
      installed,
    );
  }

  /** Puts into a guest that answers what is wanted there; one that was asleep is told the time first. */
  async furnish(vm: string, place: StartedPlace, signal: AbortSignal): Promise<void> {
    if (place.origin === 'saved') await this.#setClock(vm, place.machine);
    await this.applications.bringTo(vm, place, signal);
  }

  async deploy(request: DeployRequest, once: Once | undefined): Promise<Operation> {
    const { vm, owner } = request;
    const { version } = this.#findOwn(vm, owner).versions.current;
    return this.applications.deploy(request, version, once && { ...once, owner });
  }

  async withdraw(vm: string, owner: string, once: Once | undefined): Promise<Operation> {
    const { version } = this.#findOwn(vm, owner).versions.current;
    return this.applications.withdraw(vm, owner, version, once && { ...once, owner });
  }

  async exec(vm: VersionedVm, argv: readonly string[], options: ExecOptions): Promise<ExecOutcome> {
    const guest = vm.hold();
    if (!guest) throw poolError('vm_not_ready', `the VM ${vm.name} does not serve just now`);
    // A guest that falls silent while a program runs there is dead like any other.
    guest[Symbol.dispose]();
    return this.#programs.exec(guest.machine, argv, options);
  }

  async close(): Promise<void> {
    await this.applications.close();
  }

  /** A guest that does not take it goes on with the time at which it was suspended. */
  async #setClock(vm: string, machine: Machine): Promise<void> {
    const { clock, log } = this.#deps;
    try {
      const commands = commandsOf(machine);
      await commands.ping(deadline(clock, CLOCK_LIMIT_MS));
      await commands.setTime(clock.nowMs());
    } catch (error) {
      log.info({ vm, reason: messageOf(error) }, "a resumed guest's clock was not set");
    }
  }

  #findOwn(name: string, owner: string): VersionedVm {
    const vm = this.#deps.vms.get(name);
    if (vm?.owner === owner) return vm;
    throw poolError('vm_not_found', `no VM of ${owner} is named ${name}`);
  }
}

/** Waits for a VM that does not serve just now. */
async function hold({ vms, subscribe }: VmGuestsDeps, name: string, signal: AbortSignal): Promise<HeldGuest> {
  for (;;) {
    signal.throwIfAborted();
    const vm = vms.get(name);
    if (!vm) throw poolError('vm_not_found', `no VM is named ${name}`);
    const guest = vm.hold();
    if (guest) return guest;
    vm.wake();
    const { promise, resolve } = Promise.withResolvers<void>();
    using _changes = subscribe(resolve);
    const onAbort = () => resolve();
    signal.addEventListener('abort', onAbort, { once: true });
    await promise;
    signal.removeEventListener('abort', onAbort);
  }
}
