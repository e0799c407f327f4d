/** Whether a part can do its work now, with what to tell the operator when it cannot. */
export type Readiness = { readonly ready: true } | { readonly ready: false; readonly reason: string };

/** Collects the readiness of a process's parts for `/readyz`. */
export class Health {
  readonly #checks = new Map<string, () => Readiness>();

  register(part: string, check: () => Readiness): void {
    this.#checks.set(part, check);
  }

  report(): { ready: boolean; parts: Record<string, Readiness> } {
    const parts = Object.fromEntries([...this.#checks].map(([part, check]) => [part, check()]));
    return { ready: Object.values(parts).every(({ ready }) => ready), parts };
  }
}
