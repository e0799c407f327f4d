/** How a VM was used: requests of it that are under way, and how long ago there was one. */
export interface VmUse {
  readonly active: number;
  readonly idleMs: number;
}

/** Who uses which VM, by its name. A WebSocket is a request that is under way for long. */
export class VmUses {
  readonly #uses = new Map<string, { active: number; lastMs: number }>();

  begin(vm: string, nowMs: number): void {
    const use = this.#uses.get(vm);
    if (use) use.active += 1;
    else this.#uses.set(vm, { active: 1, lastMs: nowMs });
  }

  end(vm: string, nowMs: number): void {
    const use = this.#uses.get(vm);
    if (!use) return;
    use.active -= 1;
    use.lastMs = nowMs;
  }

  /** All that were ever used and are still there. */
  report(nowMs: number): [vm: string, use: VmUse][] {
    return Array.from(this.#uses, ([vm, { active, lastMs }]) => [
      vm,
      { active, idleMs: active > 0 ? 0 : nowMs - lastMs },
    ]);
  }

  /** Forgets VMs that are no more. */
  keep(isThere: (vm: string) => boolean): void {
    for (const [vm, { active }] of this.#uses) if (active === 0 && !isThere(vm)) this.#uses.delete(vm);
  }
}
