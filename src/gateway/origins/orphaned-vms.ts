import { type Closable, hasCode } from '../../base/index.ts';
import type { Log } from '../../platform/telemetry/index.ts';
import type { Vm } from '../../pool/schema.ts';
import type { OriginDirectory } from './origin-directory.ts';

type OwnedVm = Pick<Vm, 'name' | 'owner' | 'phase'>;

export interface OrphanedVmsDeps {
  readonly log: Log;
  readonly pool: {
    list(): readonly OwnedVm[];
    /** @throws `vm_not_found` */
    remove(name: string): Promise<void>;
  };
  readonly origins: Pick<OriginDirectory, 'find'>;
}

/**
 * Stops the VMs whose origin is gone, or may load none any more: nobody is left who could. Nothing is remembered: whoever
 * has no origin is looked for after every change and at every start, so that a crash in between leaves none behind.
 */
export class OrphanedVms implements Closable {
  readonly #deps: OrphanedVmsDeps;
  readonly #stopping = new Map<string, Promise<void>>();
  #isClosed = false;

  constructor(deps: OrphanedVmsDeps) {
    this.#deps = deps;
  }

  /** Begins with those that there are now. */
  stop(): void {
    const { pool, origins } = this.#deps;
    if (this.#isClosed) return;
    for (const vm of pool.list()) {
      const isOrphan = origins.find(vm.owner)?.offload === undefined;
      if (!isOrphan || vm.phase === 'stopping' || this.#stopping.has(vm.name)) continue;
      const stopped = this.#remove(vm).finally(() => this.#stopping.delete(vm.name));
      this.#stopping.set(vm.name, stopped);
    }
  }

  /** Waits for those that are being stopped. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all(this.#stopping.values());
  }

  async #remove({ name, owner }: OwnedVm): Promise<void> {
    const { log, pool } = this.#deps;
    try {
      await pool.remove(name);
      log.info({ vm: name, origin: owner }, 'stopped a VM whose origin is gone');
    } catch (err) {
      if (!hasCode(err, 'vm_not_found'))
        log.error({ vm: name, err }, 'a VM whose origin is gone was not stopped');
    }
  }
}
