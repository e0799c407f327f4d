import type { Log } from '../platform/telemetry/index.ts';
import type { VmSpec, VmSupervisor } from './vm-supervisor.ts';

interface Retirement {
  readonly cutShort: AbortController;
  readonly ended: Promise<void>;
}

/** Machines of versions that are not wanted any more: no new request goes to them, and they end when those they have are over. */
export class RetiringMachines {
  readonly #log: Log;
  readonly #retiring = new Map<VmSupervisor, Retirement>();

  constructor(deps: { readonly log: Log }) {
    this.#log = deps.log;
  }

  /**
   * @param drained resolves when nobody needs it any more; not waited for when it does not serve.
   * @param forget removes what was kept of it.
   */
  retire(
    supervisor: VmSupervisor,
    drained: (signal: AbortSignal) => Promise<void>,
    forget: () => Promise<void>,
  ): void {
    const cutShort = new AbortController();
    if (supervisor.state.phase !== 'ready') cutShort.abort();
    const { promise: isCut, resolve: cut } = Promise.withResolvers<void>();
    cutShort.signal.addEventListener('abort', () => cut(), { once: true });
    if (cutShort.signal.aborted) cut();
    const ended = Promise.race([drained(cutShort.signal), isCut])
      .catch(() => undefined)
      .then(() => supervisor.stop())
      .then(forget)
      .catch((error: unknown) => {
        this.#log.error({ err: error, vm: supervisor.spec.name }, 'an old version did not end');
      })
      .then(() => void this.#retiring.delete(supervisor));
    this.#retiring.set(supervisor, { cutShort, ended });
  }

  get supervisors(): readonly VmSupervisor[] {
    return [...this.#retiring.keys()];
  }

  /** Ends it now, if it is one of these. */
  cutShort(supervisor: VmSupervisor): boolean {
    const retirement = this.#retiring.get(supervisor);
    retirement?.cutShort.abort();
    return retirement !== undefined;
  }

  /** Resolves when those that are so are gone. */
  async ended(isMeant: (spec: VmSpec) => boolean): Promise<void> {
    const meant = [...this.#retiring].filter(([{ spec }]) => isMeant(spec));
    await Promise.all(meant.map(([, { ended }]) => ended));
  }

  /** Ends all of them now. */
  async close(): Promise<void> {
    for (const supervisor of this.supervisors) this.cutShort(supervisor);
    await this.ended(() => true);
  }
}
