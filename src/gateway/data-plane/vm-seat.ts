import type { Route, VmUpstream } from './data-plane.ts';
import { chooseVm } from './target.ts';
import type { VisitHost } from './visit-host.ts';

/** The VM that serves one request, counted as used from the moment it is chosen to the moment it is left. */
export class VmSeat {
  readonly #plane: VisitHost;
  vm: VmUpstream | undefined;

  constructor(plane: VisitHost) {
    this.#plane = plane;
  }

  /** Takes a VM that is ready and takes requests, if there is one. */
  take(route: Route, method: string, path: string): void {
    const { upstreams, vmUses, clock } = this.#plane;
    const vm = chooseVm(route, method, path, this.#plane.nextTurn());
    if (!vm || !upstreams.takes(vm)) return;
    this.vm = vm;
    vmUses.begin(vm.name, clock.monotonicMs());
  }

  leave(): void {
    const { vmUses, clock } = this.#plane;
    if (this.vm) vmUses.end(this.vm.name, clock.monotonicMs());
    this.vm = undefined;
  }
}
