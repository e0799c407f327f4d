import { SIZES } from './contracts.ts';

/** Standard deviations of the logarithm of a VM's use: of what it is like, and of what it is doing. */
export const OWN_SPREAD = 0.5;
export const DRIFT_SPREAD = 0.6;
export const MEMORY_SECONDS = 1800;

/** So that the mean of the log-normal distribution is 1. */
const OFFSET = (OWN_SPREAD ** 2 + DRIFT_SPREAD ** 2) / 2;

/** How much of a VM's level is kept over some time, and the deviation of what replaces the rest. */
export interface Drift {
  readonly kept: number;
  readonly news: number;
}

export function driftOver(seconds: number): Drift {
  const kept = Math.exp(-seconds / MEMORY_SECONDS);
  return { kept, news: DRIFT_SPREAD * Math.sqrt(1 - kept ** 2) };
}

/**
 * What each VM uses of its CPUs: a level of its own, drawn once, times one that drifts and forgets within `MEMORY_SECONDS`
 * (an Ornstein-Uhlenbeck process in the logarithm), and never more than all of them.
 */
export class VmLoads {
  readonly #random: () => number;
  readonly #own: Float32Array;
  readonly #drift: Float32Array;

  constructor(random: () => number, maxVms: number) {
    this.#random = random;
    this.#own = new Float32Array(maxVms);
    this.#drift = new Float32Array(maxVms);
  }

  create(vm: number, ownLevel = OWN_SPREAD * this.#normal()): void {
    this.#own[vm] = ownLevel;
    this.#drift[vm] = DRIFT_SPREAD * this.#normal();
  }

  ownLevel(vm: number): number {
    return this.#own[vm] as number;
  }

  drift(vm: number, { kept, news }: Drift): void {
    this.#drift[vm] = kept * (this.#drift[vm] as number) + news * this.#normal();
  }

  /** @param activity 1 on average: the hour of the day, for all alike. */
  milliCpus(vm: number, size: number, activity: number): number {
    const { cpus, expectedUse } = (SIZES[size] as (typeof SIZES)[0]).contract;
    const level = Math.exp((this.#own[vm] as number) + (this.#drift[vm] as number) - OFFSET);
    return 1000 * cpus * Math.min(1, expectedUse * activity * level);
  }

  /** Near enough to a normal distribution of mean 0 and deviation 1: the sum of four even ones. */
  #normal(): number {
    const random = this.#random;
    return (random() + random() + random() + random() - 2) * Math.sqrt(3);
  }
}
