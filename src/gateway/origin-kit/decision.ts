/** What an origin knows of its VM on one gateway. */
export type Presence =
  | { readonly kind: 'unknown' }
  /** Asked for; nobody asks a second time meanwhile. */
  | { readonly kind: 'asked' }
  /** What the gateway said, to be believed until `untilMs`. */
  | { readonly kind: 'loaded'; readonly vm: NamedVm; readonly untilMs: number }
  /** The gateway did not do it; asked again after `untilMs`. */
  | { readonly kind: 'refused'; readonly untilMs: number };

/** A VM as the gateway names it [gateway G8]. */
export interface NamedVm {
  readonly host: string;
  readonly ip: string;
  readonly url: string;
  readonly isReady: boolean;
}

/** A VM of the origin's on a gateway, and what is in it. */
export interface RunningVm extends NamedVm {
  readonly name: string;
  /** Of the application that runs in it. */
  readonly applicationDigest?: string | undefined;
  /** True while another is on its way into it. */
  readonly isDeploying: boolean;
}

/**
 * Whether the application runs in the VM that a gateway names to the origin, or is to be put there [gateway G13].
 *
 * @param assigned the name as the gateway writes it: a host name, an address or a URL, perhaps with a port.
 * @param digest of the application that is wanted.
 * @param isBegun whether it was asked for before, and has not been seen to run since.
 */
export function decideApplication(
  assigned: string,
  vms: readonly RunningVm[],
  digest: string,
  isBegun: boolean,
):
  | { readonly kind: 'absent' }
  | { readonly kind: 'runs' | 'wait' | 'deploy' | 'failed'; readonly vm: RunningVm } {
  const host = /^(?:https?:\/\/)?(\[[^\]]+\]|[^/:]+)/i.exec(assigned.trim())?.[1]?.toLowerCase();
  const vm = vms.find((candidate) => candidate.host === host) ?? vms.find(({ ip }) => ip === host);
  if (!vm) return { kind: 'absent' };
  if (vm.isDeploying) return { kind: 'wait', vm };
  if (vm.applicationDigest === digest) return { kind: 'runs', vm };
  return { kind: isBegun ? 'failed' : 'deploy', vm };
}

export interface Threshold {
  /** So many different users … */
  readonly users: number;
  /** … within this time. */
  readonly withinMs: number;
}

/** What to do about a visitor whom a gateway's tag came with: nothing, name the VM, or have one loaded [gateway G11]. */
export function decide(
  presence: Presence,
  users: number,
  threshold: Threshold | undefined,
  nowMs: number,
): 'pass' | 'name' | 'ask' {
  if (presence.kind === 'asked') return 'pass';
  if (presence.kind !== 'unknown' && nowMs < presence.untilMs)
    return presence.kind === 'loaded' ? 'name' : 'pass';
  // One that was loaded is asked for again whoever comes: it serves those users whom this server no longer sees.
  return presence.kind === 'loaded' || users >= (threshold?.users ?? 1) ? 'ask' : 'pass';
}

/** More users than this are not told apart: the threshold is long passed by then. */
const USERS_LIMIT = 100_000;

/** Counts the different users of the last `withinMs`. */
export class UserWindow {
  readonly #withinMs: number;
  /** User → when last seen, the one seen longest ago first. */
  readonly #seen = new Map<string, number>();

  constructor(withinMs: number) {
    this.#withinMs = withinMs;
  }

  /** Notes a user and tells how many there were within the window, this one included. */
  count(user: string, nowMs: number): number {
    this.#seen.delete(user);
    if (this.#seen.size < USERS_LIMIT) this.#seen.set(user, nowMs);
    for (const [other, seenMs] of this.#seen) {
      if (nowMs - seenMs < this.#withinMs) break;
      this.#seen.delete(other);
    }
    return this.#seen.size;
  }
}
