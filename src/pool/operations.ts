import type { Kysely } from 'kysely';
import { type Clock, type Closable, hasCode, type Random, randomId } from '../base/index.ts';
import type { Store } from '../platform/store/index.ts';
import type { Log } from '../platform/telemetry/index.ts';
import { poolError } from './errors.ts';
import { operationOutcome } from './operation-outcome.ts';
import {
  bringToPresent,
  findOperation,
  findRequest,
  finishOperation,
  insertOperation,
  insertRequest,
  latestOperation,
  loadRunningOperations,
  type OperationTables,
  pruneOperations,
  type RequestKey,
} from './operation-table.ts';
import type { Operation, Vm } from './schema.ts';

export interface OperationsDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly store: Pick<Store<OperationTables>, 'db'>;
}

/** How long what is over, and the key of a request, is remembered; and how many of each for one owner. */
const LIFETIME_MS = 24 * 3_600_000;
const LIMIT_OF_OWNER = 256;

/** A write that belongs into the transaction of what it is about. */
export type Also = (transaction: Kysely<OperationTables>) => Promise<void>;

/**
 * What was asked of the pool, and what became of it. An operation, and the key of the request that began it, are written
 * in one transaction with their effect: after a crash of ours the same request, sent again, finds the same operation.
 */
export class Operations implements Closable {
  readonly #deps: OperationsDeps;
  readonly #running = new Map<string, Operation>();
  /** Over, and not yet in the store. */
  readonly #finished = new Map<string, Operation>();
  /** Requests with a key that are being answered. */
  readonly #asked = new Map<string, { fingerprint: string; answer: Promise<Operation> }>();
  readonly #listeners = new Set<() => void>();
  readonly #writing = new Set<Promise<void>>();

  private constructor(deps: OperationsDeps) {
    this.#deps = deps;
  }

  static async open(deps: OperationsDeps): Promise<Operations> {
    const operations = new Operations(deps);
    for (const operation of await loadRunningOperations(deps.store.db)) {
      operations.#running.set(operation.id, operation);
    }
    return operations;
  }

  /** @throws `operation_not_found`, also for another owner's. */
  async get(owner: string, id: string): Promise<Operation> {
    const operation =
      this.#running.get(id) ?? this.#finished.get(id) ?? (await findOperation(this.#deps.store.db, id));
    if (operation?.owner === owner) return operation;
    throw poolError('operation_not_found', `no operation of yours has the id ${id}, or not any more`);
  }

  /** Resolves with the operation once it is over, or as it is when `signal` aborts. */
  async settled(operation: Operation, signal: AbortSignal): Promise<Operation> {
    const { id, owner } = operation;
    const { promise, resolve } = Promise.withResolvers<void>();
    const look = () => {
      if (signal.aborted || !this.#running.has(id)) resolve();
    };
    this.#listeners.add(look);
    signal.addEventListener('abort', look, { once: true });
    look();
    await promise;
    this.#listeners.delete(look);
    signal.removeEventListener('abort', look);
    return this.get(owner, id);
  }

  /**
   * Does `work` once for a key, however often and however fast it is asked; without a key, each time.
   *
   * @throws `request_key_reused` when the key came with something else before.
   */
  async once(request: RequestKey | undefined, work: () => Promise<Operation>): Promise<Operation> {
    if (!request) return work();
    const place = JSON.stringify([request.owner, request.key]);
    const asked = this.#asked.get(place);
    if (asked) {
      checkSame(asked.fingerprint, request);
      return asked.answer;
    }
    const answer = this.#answered(request).then((known) => known ?? work());
    this.#asked.set(place, { fingerprint: request.fingerprint, answer });
    try {
      return await answer;
    } finally {
      this.#asked.delete(place);
    }
  }

  /** A new operation, and the writes that go into the transaction of its effect; then `began` is to be called. */
  prepare(
    what: Pick<Operation, 'owner' | 'kind' | 'vm' | 'version'>,
    request: RequestKey | undefined,
  ): { operation: Operation; also: Also } {
    const { random, clock } = this.#deps;
    const nowMs = clock.nowMs();
    const operation: Operation = { id: randomId(random), ...what, status: 'running', createdAtMs: nowMs };
    const also: Also = async (transaction) => {
      await bringToPresent(transaction, nowMs);
      await pruneOperations(transaction, what.owner, {
        sinceMs: nowMs - LIFETIME_MS,
        limit: LIMIT_OF_OWNER - 1,
      });
      await insertOperation(transaction, operation);
      if (request) await insertRequest(transaction, request, operation.id, nowMs);
    };
    return { operation, also };
  }

  began(operation: Operation): void {
    this.#running.set(operation.id, operation);
  }

  /** The operation that brings the version, or that brought it when it still serves; for a request that changes nothing. */
  async presentOf(vm: Vm, version: number): Promise<Operation | undefined> {
    const latest = await latestOperation(this.#deps.store.db, vm.name, version);
    if (!latest) return undefined;
    const known = this.#running.get(latest.id) ?? this.#finished.get(latest.id) ?? latest;
    const serves = vm.version === version && vm.phase === 'ready';
    return known.status === 'running' || (known.status === 'succeeded' && serves) ? known : undefined;
  }

  /** The write by which a request with a key joins an operation that is there. */
  joins({ id }: Operation, request: RequestKey | undefined): Also | undefined {
    return request && ((transaction) => insertRequest(transaction, request, id, this.#deps.clock.nowMs()));
  }

  /** The end of an operation that is known otherwise than by a look at its VM: the write, and what is to follow it. */
  conclude(
    id: string,
    outcome: Pick<Operation, 'status' | 'reason'>,
  ): { readonly also: Also; readonly concluded: () => void } {
    const running = this.#running.get(id);
    const operation = running && { ...running, ...outcome, finishedAtMs: this.#deps.clock.nowMs() };
    return {
      also: async (transaction) => {
        if (operation) await finishOperation(transaction, operation);
      },
      concluded: () => {
        this.#running.delete(id);
        for (const listener of this.#listeners) listener();
      },
    };
  }

  /** Looks at the VMs, after any change of theirs, and ends what is over. */
  observe(find: (vm: string) => Vm | undefined): void {
    for (const operation of this.#running.values()) {
      const outcome = operationOutcome(operation, find(operation.vm));
      if (outcome) this.#finish({ ...operation, ...outcome, finishedAtMs: this.#deps.clock.nowMs() });
    }
    for (const listener of this.#listeners) listener();
  }

  /** What is over is in the store then; what runs goes on at the next start. */
  async close(): Promise<void> {
    await Promise.all(this.#writing);
  }

  #finish(operation: Operation): void {
    const { store, log } = this.#deps;
    this.#running.delete(operation.id);
    this.#finished.set(operation.id, operation);
    const writing = finishOperation(store.db, operation).then(
      () => void this.#finished.delete(operation.id),
      // It is found to be over once more at the next start.
      (error: unknown) =>
        log.error({ err: error, operation: operation.id }, 'the end of an operation was not written'),
    );
    this.#writing.add(writing);
    void writing.then(() => this.#writing.delete(writing));
  }

  async #answered(request: RequestKey): Promise<Operation | undefined> {
    const { store, clock } = this.#deps;
    const known = await findRequest(store.db, request, clock.nowMs() - LIFETIME_MS);
    if (!known) return undefined;
    checkSame(known.fingerprint, request);
    return this.get(request.owner, known.operationId).catch((error: unknown) => {
      if (hasCode(error, 'operation_not_found')) return undefined;
      throw error;
    });
  }
}

function checkSame(fingerprint: string, request: RequestKey): void {
  if (fingerprint === request.fingerprint) return;
  throw poolError(
    'request_key_reused',
    `the Idempotency-Key ${JSON.stringify(request.key)} came with another request before; a new request needs a new key`,
  );
}
