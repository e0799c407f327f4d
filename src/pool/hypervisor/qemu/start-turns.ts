import { availableParallelism } from 'node:os';
import { type Clock, deadline } from '../../../base/index.ts';
import { Turns } from './turns.ts';

/** A guest that takes longer, or never answers, holds up no others any more. */
const BOOT_TURN_MS = 20_000;
/** Part of a boot is waiting: for the disk, for devices. */
const BOOTS_PER_PROCESSOR = 2;

/** Starts need processors: with many at once, each takes longer than it may, and after a loss of power all come at once. */
export class StartTurns {
  readonly #clock: Clock;
  readonly #boots = new Turns(BOOTS_PER_PROCESSOR * availableParallelism());
  readonly #clones = new Turns(availableParallelism());

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** For a guest that boots, until it answers; `over` aborts when that takes too long. Rejects with the signal's reason. */
  async boot(signal: AbortSignal): Promise<Disposable & { readonly over: AbortSignal }> {
    const turn = await this.#boots.take(signal);
    const over = deadline(this.#clock, BOOT_TURN_MS);
    over.addEventListener('abort', () => turn[Symbol.dispose](), { once: true });
    return { ...turn, over };
  }

  /** For a guest that goes on from where it was kept, until it does. Rejects with the signal's reason. */
  clone(signal: AbortSignal): Promise<Disposable> {
    return this.#clones.take(signal);
  }
}
