import { type Once, type Pool, poolError, readApplicationKey } from '../pool/index.ts';
import type { Operation, Vm } from '../pool/schema.ts';
import { gatewayError } from './errors.ts';
import type { OriginDirectory } from './origins/origin-directory.ts';
import type { WantedApplication } from './schema.ts';

export interface OriginVmsDeps {
  readonly pool: Pick<Pool, 'list' | 'deploy' | 'withdrawApplication' | 'operation' | 'settled'>;
  readonly origins: Pick<OriginDirectory, 'find'>;
}

/**
 * What an origin sees of its VMs here, and what it may put into them, whichever way it asks [gateway G13] [gateway G14].
 * Another origin's VM gets the answer of one that is not there.
 */
export class OriginVms {
  readonly #deps: OriginVmsDeps;

  constructor(deps: OriginVmsDeps) {
    this.#deps = deps;
  }

  list(origin: string): Vm[] {
    return this.#deps.pool.list().filter(({ owner }) => owner === origin);
  }

  /** @throws `vm_not_found` */
  get(origin: string, name: string): Vm {
    const vm = this.list(origin).find((candidate) => candidate.name === name);
    if (!vm) throw poolError('vm_not_found', `no VM of yours is named ${name}`);
    return vm;
  }

  /**
   * Has an application put into a VM that runs, in the place of the one that is in it.
   *
   * @throws `vm_not_found`, `application_keys_missing`, and what the pool finds wrong with the application.
   */
  async deploy(origin: string, name: string, wanted: WantedApplication, once?: Once): Promise<Operation> {
    this.get(origin, name);
    const keys = this.#deps.origins.find(origin)?.offload?.applicationKeys ?? [];
    if (keys.length === 0) {
      throw gatewayError(
        'application_keys_missing',
        `no key for the applications of ${origin} is registered here: the gateway's operator names its file with ` +
          '"orilla origin add --application-key", or under offload.applicationKeys in the configuration',
      );
    }
    const { applicationRef, digest, signature } = wanted;
    const authority = { signature, keys: keys.map(readApplicationKey) };
    return this.#deps.pool.deploy({ vm: name, owner: origin, applicationRef, digest, authority }, once);
  }

  /** Takes the application out. @throws `vm_not_found`, `application_not_found` */
  async withdraw(origin: string, name: string, once?: Once): Promise<Operation> {
    this.get(origin, name);
    return this.#deps.pool.withdrawApplication(name, origin, once);
  }

  /** @throws `operation_not_found` */
  operation(origin: string, id: string): Promise<Operation> {
    return this.#deps.pool.operation(origin, id);
  }

  /** Resolves with the operation once it is over; with what it is when `signal` aborts first. */
  settled(operation: Operation, signal: AbortSignal): Promise<Operation> {
    return this.#deps.pool.settled(operation, signal);
  }
}
