import type { Kysely } from 'kysely';
import { type Clock, type Closable, deadline, hasCode, messageOf } from '../../base/index.ts';
import type { Store } from '../../platform/store/index.ts';
import type { Log } from '../../platform/telemetry/index.ts';
import { poolError } from '../errors.ts';
import type { OperationTables, RequestKey } from '../operation-table.ts';
import type { Operations } from '../operations.ts';
import type { Application, Operation, Vm } from '../schema.ts';
import type { ApplicationInstaller, GuestPlace } from './application-installer.ts';
import type { ApplicationLibrary } from './application-library.ts';
import type { ApplicationStore, StoredApplication } from './application-store.ts';
import {
  type ApplicationTables,
  type Deployment,
  deleteDeployment,
  type InstalledApplication,
  loadDeployments,
  saveApplication,
  saveDeployment,
} from './application-table.ts';
import type { DeployRequest } from './deploy-request.ts';

/** A VM that serves, while it is being changed: that it is silent meanwhile means nothing. */
export interface HeldGuest extends GuestPlace, Disposable {}

export interface ApplicationsDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly store: Store<ApplicationTables & OperationTables>;
  readonly operations: Operations;
  readonly held: ApplicationStore;
  readonly library: ApplicationLibrary;
  readonly installer: ApplicationInstaller;
  /** Resolves with the guest of a VM once that serves. @throws `vm_not_found`, and when `signal` aborts. */
  readonly hold: (vm: string, signal: AbortSignal) => Promise<HeldGuest>;
  readonly announce: () => void;
}

interface Underway {
  readonly deployment: Deployment;
  readonly ended: AbortController;
  shown: NonNullable<Vm['deployment']> | undefined;
  done: Promise<void>;
}

/** How long a VM that does not serve just now is waited for. */
const SERVING_LIMIT_MS = 120_000;

/**
 * The applications of the VMs. What is wanted is in the store before it is done: a deployment that was under way when our
 * process ended goes on at the next start, and what was put into a VM is put in again whenever its machine is another.
 */
export class Applications implements Closable {
  readonly #deps: ApplicationsDeps;
  readonly #installed = new Map<string, Application>();
  readonly #underway = new Map<string, Underway>();
  /** One thing at a time: in each VM, and of what is wished for it. */
  readonly #turns = new Map<string, Promise<unknown>>();
  #isClosing = false;

  /** @param installed as the store has them. */
  constructor(deps: ApplicationsDeps, installed: readonly InstalledApplication[]) {
    this.#deps = deps;
    for (const { vm, ...application } of installed) this.#installed.set(vm, application);
  }

  /** Goes on with what was under way when an earlier process ended. */
  async resume(): Promise<void> {
    for (const deployment of await loadDeployments(this.#deps.store.db)) this.#begin(deployment);
  }

  describe(vm: string): Pick<Vm, 'application' | 'deployment'> {
    const application = this.#installed.get(vm);
    const deployment = this.#underway.get(vm)?.shown;
    return { ...(application && { application }), ...(deployment && { deployment }) };
  }

  /** @param version of the VM, for the operation. */
  deploy(request: DeployRequest, version: number, key: RequestKey | undefined): Promise<Operation> {
    return this.#deps.operations.once(key, async () => {
      await this.#deps.library.check(request);
      return this.#ask('deploy', request, version, key);
    });
  }

  withdraw(vm: string, owner: string, version: number, key: RequestKey | undefined): Promise<Operation> {
    return this.#deps.operations.once(key, async () => {
      if (!this.#installed.has(vm) && !this.#underway.has(vm)) {
        throw poolError('application_not_found', `no application was put into the VM ${vm}`);
      }
      return this.#ask('withdraw', { vm, owner, authority: 'operator' }, version, key);
    });
  }

  /** Puts what is wanted of a VM into the guest of another machine of it. Does nothing where its image's own server is to serve. */
  async bringTo(vm: string, place: GuestPlace, signal: AbortSignal): Promise<void> {
    if (!this.#installed.has(vm)) return;
    await this.#inTurn(vm, async () => {
      const application = this.#installed.get(vm);
      if (!application) return;
      await this.#deps.installer.install(place, await this.#deps.library.held(application.digest), signal);
    });
  }

  /** To be called in the transaction that forgets the VM. */
  async deleteOf(transaction: Kysely<ApplicationTables>, vm: string): Promise<void> {
    await saveApplication(transaction, vm, undefined);
    await deleteDeployment(transaction, vm);
  }

  /** The VM is no more. */
  async forget(vm: string): Promise<void> {
    this.#underway.get(vm)?.ended.abort(poolError('vm_conflict', 'the VM was stopped'));
    await this.#underway.get(vm)?.done;
    this.#installed.delete(vm);
  }

  /** What is under way goes on at the next start. */
  async close(): Promise<void> {
    this.#isClosing = true;
    for (const { ended } of this.#underway.values()) ended.abort(new Error('Orilla is being closed'));
    await Promise.all([...this.#underway.values()].map(({ done }) => done));
  }

  /** The newest wish counts: one that is under way is called off. */
  #ask(
    kind: 'deploy' | 'withdraw',
    wanted: Omit<Deployment, 'operationId'>,
    version: number,
    key: RequestKey | undefined,
  ): Promise<Operation> {
    const { operations, store } = this.#deps;
    const { vm, owner } = wanted;
    return this.#inTurn(`wishes of ${vm}`, async () => {
      const before = this.#underway.get(vm);
      before?.ended.abort(poolError('vm_conflict', 'another application was asked for'));
      await before?.done;
      const { operation, also } = operations.prepare({ owner, kind, vm, version }, key);
      const deployment = { ...wanted, operationId: operation.id };
      await store.transaction(async (transaction) => {
        await saveDeployment(transaction, deployment);
        await also(transaction);
      });
      operations.began(operation);
      this.#begin(deployment);
      return operation;
    });
  }

  #begin(deployment: Deployment): void {
    const { vm } = deployment;
    const underway: Underway = {
      deployment,
      ended: new AbortController(),
      shown: undefined,
      done: Promise.resolve(),
    };
    this.#underway.set(vm, underway);
    underway.done = this.#work(underway)
      .catch((err: unknown) => this.#deps.log.error({ err, vm }, 'the end of a deployment was not written'))
      .finally(() => this.#deps.announce());
    this.#deps.announce();
  }

  async #work(underway: Underway): Promise<void> {
    const { clock, log } = this.#deps;
    const { deployment, ended } = underway;
    const { vm, applicationRef } = deployment;
    try {
      await this.#sweep();
      const application =
        applicationRef === undefined ? undefined : await this.#fetch(underway, applicationRef);
      this.#show(underway, 'installing');
      using guest = await this.#deps.hold(
        vm,
        AbortSignal.any([ended.signal, deadline(clock, SERVING_LIMIT_MS, 'the VM does not serve')]),
      );
      await this.#inTurn(vm, () => this.#change(underway, guest, application));
      log.info({ vm, digest: application?.digest, name: application?.manifest.name }, 'application changed');
    } catch (error) {
      if (this.#isClosing) return;
      const what = hasCode(error) ? { code: error.code, reason: error.message } : { err: error };
      log.warn({ vm, ...what }, 'application not changed');
      const status = ended.signal.aborted ? 'cancelled' : 'failed';
      await this.#conclude(deployment, { status, reason: messageOf(error) });
    }
  }

  async #fetch(underway: Underway, applicationRef: string): Promise<StoredApplication> {
    const { deployment, ended } = underway;
    this.#show(underway, 'fetching');
    return this.#deps.library.fetch({ ...deployment, applicationRef }, ended.signal);
  }

  /** In the guest, then in the store; or, when the guest does not come to answer, neither. */
  async #change(
    underway: Underway,
    guest: GuestPlace,
    application: StoredApplication | undefined,
  ): Promise<void> {
    const { installer, library, log } = this.#deps;
    const { deployment, ended } = underway;
    const { vm } = deployment;
    try {
      if (application) await installer.install(guest, application, ended.signal);
      else await installer.restore(guest, undefined, ended.signal);
    } catch (error) {
      if (this.#isClosing) throw error;
      const before = this.#installed.get(vm);
      const restoring = async () => {
        const held = before && (await library.held(before.digest));
        await installer.restore(guest, held, new AbortController().signal);
      };
      await restoring().catch((err: unknown) => log.warn({ err, vm }, 'what served before was not put back'));
      throw error;
    }
    const installed = application && {
      name: application.manifest.name,
      version: application.manifest.version,
      digest: application.digest,
    };
    const save = (transaction: Kysely<ApplicationTables>) => saveApplication(transaction, vm, installed);
    await this.#conclude(deployment, { status: 'succeeded' }, save, () => {
      if (installed) this.#installed.set(vm, installed);
      else this.#installed.delete(vm);
    });
  }

  /** @param follow what is so once it is written. */
  async #conclude(
    { vm, operationId }: Deployment,
    outcome: Pick<Operation, 'status' | 'reason'>,
    also: (transaction: Kysely<ApplicationTables>) => Promise<void> = async () => undefined,
    follow: () => void = () => undefined,
  ): Promise<void> {
    const { operations, store } = this.#deps;
    const concluding = operations.conclude(operationId, outcome);
    await store.transaction(async (transaction) => {
      await deleteDeployment(transaction, vm);
      await also(transaction);
      await concluding.also(transaction);
    });
    follow();
    this.#underway.delete(vm);
    concluding.concluded();
  }

  #show(underway: Underway, phase: NonNullable<Vm['deployment']>['phase']): void {
    underway.shown = { applicationRef: underway.deployment.applicationRef ?? '', phase };
    this.#deps.announce();
  }

  #inTurn<Result>(what: string, work: () => Promise<Result>): Promise<Result> {
    const turn = (this.#turns.get(what) ?? Promise.resolve()).then(work);
    const settled = turn
      .catch(() => undefined)
      .then(() => {
        if (this.#turns.get(what) === settled) this.#turns.delete(what);
      });
    this.#turns.set(what, settled);
    return turn;
  }

  async #sweep(): Promise<void> {
    const wanted = [...this.#installed.values()].map(({ digest }) => digest);
    await this.#deps.held
      .sweep(new Set(wanted))
      .catch((err: unknown) =>
        this.#deps.log.warn({ err }, 'applications that nobody wants were not removed'),
      );
  }
}
