import { readdirSync } from 'node:fs';
import type { Clock } from '../../../base/index.ts';
import { endProcess, identifyProcess, type ProcessIdentity } from '../../../platform/process/index.ts';
import { poolError } from '../../errors.ts';
import type { RunningQemu } from './qemu-process.ts';
import { waitAside } from './wait-aside.ts';

/** A look reads one line of /proc. Within it visitors of a VM that died are served by the origin all the same. */
const LOOK_INTERVAL_MS = 100;
/** Between its first thread's end and that of the last one pass milliseconds. */
const END_LOOK_INTERVAL_MS = 5;

/** A QEMU that an earlier process of ours started. It is no child of ours, so its end is noticed by looking. */
export class AdoptedQemu implements RunningQemu {
  readonly #clock: Clock;
  readonly #identity: ProcessIdentity;
  readonly #ended = new AbortController();
  readonly exited: Promise<{ readonly reason: string }>;

  constructor(clock: Clock, identity: ProcessIdentity) {
    this.#clock = clock;
    this.#identity = identity;
    this.exited = this.#untilGone();
  }

  get pid(): number {
    return this.#identity.pid;
  }

  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  async kill(): Promise<void> {
    // True as long as there was something to end.
    while (await endProcess(this.#clock, this.#identity, 0));
    while (isAlive(this.#identity)) await this.#clock.sleep(END_LOOK_INTERVAL_MS);
    this.#end();
  }

  async #untilGone(): Promise<{ readonly reason: string }> {
    while (isAlive(this.#identity)) await waitAside(this.#clock, LOOK_INTERVAL_MS, this.ended);
    this.#end();
    return { reason: 'QEMU ended' };
  }

  #end(): void {
    this.#ended.abort(poolError('machine_failed', 'QEMU ended'));
  }
}

/** A QEMU whose first thread has ended looks ended, while the others still hold its memory, its disk and its network. */
function isAlive({ pid, startTicks }: ProcessIdentity): boolean {
  const found = identifyProcess(pid);
  if (found) return found.startTicks === startTicks;
  try {
    return readdirSync(`/proc/${pid}/task`).length > 1;
  } catch {
    return false;
  }
}
