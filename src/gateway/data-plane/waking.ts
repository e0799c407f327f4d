import type { Clock } from '../../base/index.ts';
import type { Route } from './data-plane.ts';

/** A request that waits for a VM to wake. */
export interface Waiting {
  /** @param route what is served now under its host; `undefined` when it was waited long enough. */
  onWoken(route: Route | undefined): void;
}

/** A VM is back in half a second, on a busy host in some; after that the origin is the better choice, as for any slow VM. */
const PATIENCE_MS = 10_000;

/** Requests that wait for VMs that sleep. */
export class Waking {
  readonly #clock: Clock;
  /** Asks for the VM; false when nobody is there who could wake it. */
  readonly #wake: (vm: string) => boolean;
  readonly #waiting = new Map<Waiting, { readonly host: string; readonly vm: string }>();

  constructor(clock: Clock, wake: (vm: string) => boolean) {
    this.#clock = clock;
    this.#wake = wake;
  }

  /** Whether the request is to wait: then it is told, later, how that went. */
  wait(host: string, vm: string, visit: Waiting): boolean {
    if (!this.#wake(vm)) return false;
    this.#waiting.set(visit, { host, vm });
    this.#clock.after(PATIENCE_MS, () => {
      if (this.#waiting.delete(visit)) visit.onWoken(undefined);
    });
    return true;
  }

  /** The routes are others now: whoever waits for a VM that sleeps no more goes on. */
  look(routeOf: (host: string) => Route | undefined): void {
    for (const [visit, { host, vm }] of this.#waiting) {
      const route = routeOf(host);
      if (route?.asleep?.some(({ name }) => name === vm)) continue;
      this.#waiting.delete(visit);
      visit.onWoken(route);
    }
  }
}
