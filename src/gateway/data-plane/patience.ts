const ORIGIN_FIRST_BYTE_TIMEOUT_MS = 60_000;
/** A VM that is slower than this is passed over: the origin can still answer. */
const VM_FIRST_BYTE_TIMEOUT_MS = 10_000;
/** A silent upstream is given up after this long between two octets of an answer. */
const ANSWER_IDLE_TIMEOUT_MS = 60_000;
/** Without any octet for this long in either direction a WebSocket is taken for dead. */
const TUNNEL_IDLE_TIMEOUT_MS = 10 * 60_000;
/** A VM that is silent for so long is looked at: the network does not tell when a whole machine is gone. */
const LOOK_MS = 500;
/** The same for one at the other end of a WebSocket, which may be silent for long. */
const TUNNEL_LOOK_MS = 10_000;

/** How long a server is waited for. Times are on the monotonic clock. */
export class Patience {
  #giveUpMs = Number.POSITIVE_INFINITY;
  #lookMs: number | undefined;
  /** When to see: whether it is over, or whether the server is still there. */
  nextMs = Number.POSITIVE_INFINITY;

  /** The server gave a sign of life, or is asked. */
  renew(nowMs: number, phase: 'asking' | 'answering' | 'tunnel', isVm: boolean): void {
    const isTunnel = phase === 'tunnel';
    let patienceMs = isVm ? VM_FIRST_BYTE_TIMEOUT_MS : ORIGIN_FIRST_BYTE_TIMEOUT_MS;
    if (isTunnel) patienceMs = TUNNEL_IDLE_TIMEOUT_MS;
    else if (phase === 'answering') patienceMs = ANSWER_IDLE_TIMEOUT_MS;
    this.#giveUpMs = nowMs + patienceMs;
    this.#lookMs = isVm ? (isTunnel ? TUNNEL_LOOK_MS : LOOK_MS) : undefined;
    this.looked(nowMs);
  }

  /** The server is there: to be looked at again later. */
  looked(nowMs: number): void {
    this.nextMs = Math.min(this.#giveUpMs, nowMs + (this.#lookMs ?? Number.POSITIVE_INFINITY));
  }

  isOver(nowMs: number): boolean {
    return nowMs >= this.#giveUpMs;
  }

  end(): void {
    this.nextMs = Number.POSITIVE_INFINITY;
  }
}
