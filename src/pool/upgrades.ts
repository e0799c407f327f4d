import { type Clock, type Closable, messageOf, type Random, randomId } from '../base/index.ts';
import type { Store } from '../platform/store/index.ts';
import type { Log } from '../platform/telemetry/index.ts';
import { poolError } from './errors.ts';
import type { Upgrade, Vm } from './schema.ts';
import {
  findUpgrade,
  insertUpgrade,
  pruneUpgrades,
  saveUpgrade,
  type UpgradeTables,
} from './upgrade-table.ts';
import { ended, nextWave } from './upgrade-waves.ts';
import type { VmRequests } from './vm-requests.ts';

export interface UpgradesDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly store: Pick<Store<UpgradeTables>, 'db'>;
  readonly requests: Pick<VmRequests, 'change'>;
  readonly list: () => readonly Vm[];
}

export interface WantedUpgrade extends Pick<Upgrade, 'fromDigest' | 'imageRef' | 'waveSize'> {
  readonly imageDigest?: string | undefined;
}

/** Kept in the store; older ones that are over go. */
const KEPT_COUNT = 100;

/** Brings all VMs of an image to another one, wave by wave; goes on after a restart where it was [desktop D17]. */
export class Upgrades implements Closable {
  readonly #deps: UpgradesDeps;
  readonly #running = new Map<string, Upgrade>();
  #turn: Promise<void> = Promise.resolve();
  #isClosing = false;

  /** @param running those that an earlier process of ours did not end. */
  constructor(deps: UpgradesDeps, running: readonly Upgrade[]) {
    this.#deps = deps;
    for (const upgrade of running) this.#running.set(upgrade.id, upgrade);
  }

  /** @throws `upgrade_conflict` while another one changes VMs of the same image. */
  async begin(wanted: WantedUpgrade): Promise<Upgrade> {
    const { clock, random, list, store } = this.#deps;
    const { fromDigest } = wanted;
    const other = [...this.#running.values()].find((running) => running.fromDigest === fromDigest);
    if (other) {
      throw poolError(
        'upgrade_conflict',
        `the upgrade ${other.id} changes VMs of this image; wait for its end`,
      );
    }
    const upgrade: Upgrade = {
      ...wanted,
      id: randomId(random),
      status: 'running',
      steps: list()
        .filter(({ imageDigest }) => imageDigest === fromDigest)
        .map(({ name }) => ({ vm: name, status: 'waiting' })),
      createdAtMs: clock.nowMs(),
    };
    this.#running.set(upgrade.id, upgrade);
    try {
      await insertUpgrade(store.db, upgrade);
    } catch (error) {
      this.#running.delete(upgrade.id);
      throw error;
    }
    await pruneUpgrades(store.db, KEPT_COUNT);
    this.observe();
    return upgrade;
  }

  /** @throws `upgrade_not_found` */
  async get(id: string): Promise<Upgrade> {
    const upgrade = this.#running.get(id) ?? (await findUpgrade(this.#deps.store.db, id));
    if (upgrade) return upgrade;
    throw poolError('upgrade_not_found', `no upgrade has the id ${id}, or not any more`);
  }

  /** Looks at the VMs, after any change of theirs. */
  observe(): void {
    if (this.#running.size === 0 || this.#isClosing) return;
    this.#turn = this.#turn
      .then(() => this.#look())
      .catch((error: unknown) => {
        this.#deps.log.error({ err: error }, 'an upgrade could not go on');
      });
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    await this.#turn;
  }

  async #look(): Promise<void> {
    for (const before of this.#running.values()) {
      if (this.#isClosing) return;
      const { upgrade, begin } = nextWave(before, (name) => this.#find(name));
      // Written before it is done: what we do not get to is found at the next start.
      if (upgrade !== before) await this.#save(upgrade);
      for (const name of begin) await this.#change(upgrade.id, name);
    }
  }

  async #change(id: string, name: string): Promise<void> {
    const upgrade = this.#running.get(id);
    const vm = this.#find(name);
    if (!upgrade || !vm) return;
    const { imageRef, imageDigest } = upgrade;
    const { owner, configuration } = vm;
    try {
      await this.#deps.requests.change({ name, owner, imageRef, imageDigest, configuration });
    } catch (error) {
      // VMs are not changed any more: it goes on at the next start.
      if (this.#isClosing) return;
      const reason = messageOf(error);
      const steps = upgrade.steps.map((step) => (step.vm === name ? ended(step, 'failed', reason) : step));
      await this.#save({ ...upgrade, steps });
      this.observe();
    }
  }

  async #save(upgrade: Upgrade): Promise<void> {
    const { id, status } = upgrade;
    await saveUpgrade(this.#deps.store.db, upgrade);
    if (status === 'running') this.#running.set(id, upgrade);
    else {
      this.#running.delete(id);
      this.#deps.log.info({ upgrade: id, status }, 'upgrade over');
    }
  }

  #find(name: string): Vm | undefined {
    return this.#deps.list().find((vm) => vm.name === name);
  }
}
