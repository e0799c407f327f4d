import type { Exchange } from './data-plane.ts';

/** What is measured of one request. */
export class VisitMeasures {
  readonly #startMs: number;
  firstByteMs: number | undefined;
  /** Octets of the answer's body that went to the client. */
  sentBytes = 0;
  originBytes = 0;
  vmBytes = 0;
  wasReplayed = false;

  /** @param startMs when its head had come, on the monotonic clock. */
  constructor(startMs: number) {
    this.#startMs = startMs;
  }

  /** The answer begins. */
  begin(nowMs: number): void {
    this.firstByteMs = this.durationMs(nowMs);
  }

  durationMs(nowMs: number): number {
    return nowMs - this.#startMs;
  }

  /** Octets that passed between us and who was asked, either way. */
  count(octets: number, isVm: boolean): void {
    if (isVm) this.vmBytes += octets;
    else this.originBytes += octets;
  }

  /** As they are told when it is over. */
  get counts(): Pick<Exchange, 'firstByteMs' | 'originBytes' | 'vmBytes' | 'wasReplayed'> {
    const { firstByteMs, originBytes, vmBytes, wasReplayed } = this;
    return { firstByteMs, originBytes, vmBytes, wasReplayed };
  }
}
