/**
 * The life of a VM, decided without any effect:
 *
 *     fetching ──fetched──▶ starting ──answered──▶ ready
 *        │                     │                     │
 *        ├─────────────────────── adopted ───────────▶│
 *        └──────── failed ─────┴──── failed ─────────┘
 *                    │
 *                    ├─▶ waiting ──retried──▶ fetching       while attempts are left
 *                    └─▶ failed                              when it is final, or none is left
 *
 *     ready ──suspending──▶ suspending ──suspended──▶ suspended ──resumed──▶ fetching
 *       ▲                     │
 *       └──────── kept ───────┘
 *
 *     any ──stopped──▶ stopping
 * @module
 */
import type { Machine } from './hypervisor/hypervisor.ts';

/** On the way to `ready`; `reason`: why the attempt before this one failed. */
interface Underway {
  readonly sinceMs: number;
  readonly attempt: number;
  /** Whether it was ready before. Such a VM is never given up, only started again less and less eagerly. */
  readonly hasServed: boolean;
  readonly reason?: string;
}

export type VmState =
  | (Underway & { readonly phase: 'fetching' })
  | (Underway & { readonly phase: 'starting' })
  | { readonly phase: 'ready'; readonly sinceMs: number; readonly attempt: number; readonly machine: Machine }
  | {
      readonly phase: 'waiting';
      readonly sinceMs: number;
      readonly attempt: number;
      readonly hasServed: boolean;
      readonly retryAtMs: number;
      readonly reason: string;
    }
  /** Its machine serves until the guest is brought to rest. */
  | {
      readonly phase: 'suspending';
      readonly sinceMs: number;
      readonly attempt: number;
      readonly machine: Machine;
      readonly readySinceMs: number;
    }
  /** It has no machine; what it was is on the disk. */
  | { readonly phase: 'suspended'; readonly sinceMs: number }
  | { readonly phase: 'failed'; readonly sinceMs: number; readonly reason: string }
  | { readonly phase: 'stopping'; readonly sinceMs: number };

export type VmEvent =
  | { readonly kind: 'fetched' }
  | { readonly kind: 'answered'; readonly machine: Machine }
  /** The machine that an earlier process of ours had started serves on. */
  | { readonly kind: 'adopted'; readonly machine: Machine }
  /** `isFinal`: another attempt cannot help, for example with an image of the wrong digest. */
  | { readonly kind: 'failed'; readonly reason: string; readonly isFinal: boolean }
  | { readonly kind: 'retried' }
  | { readonly kind: 'suspending' }
  | { readonly kind: 'suspended' }
  /** It could not be suspended, and serves on. */
  | { readonly kind: 'kept' }
  | { readonly kind: 'resumed' }
  | { readonly kind: 'stopped' };

/** Starts in a row that may fail before a VM is given up. */
export const ATTEMPT_LIMIT = 6;
/** How far the delay grows for a VM that did serve: to 1 s, so that its users are back at the edge soon. */
const SERVED_ATTEMPT_LIMIT = 4;
/** A VM that served this long counts as sound: its next failure is the first again. */
const SOUND_AFTER_MS = 5000;
const FIRST_DELAY_MS = 250;
const LONGEST_DELAY_MS = 30_000;

export const initialState = (nowMs: number): VmState => ({
  phase: 'fetching',
  sinceMs: nowMs,
  attempt: 1,
  hasServed: false,
});

export const suspendedState = (nowMs: number): VmState => ({ phase: 'suspended', sinceMs: nowMs });

/** How long to wait after the `attempt`-th failure in a row: none after the first, then 250 ms doubled each time. */
export const retryDelayMs = (attempt: number): number =>
  attempt <= 1 ? 0 : Math.min(FIRST_DELAY_MS * 2 ** (attempt - 2), LONGEST_DELAY_MS);

/** The state after `event`; the same object when the event does not matter in this state. */
export function transition(state: VmState, event: VmEvent, nowMs: number): VmState {
  if (state.phase === 'stopping') return state;
  switch (event.kind) {
    case 'stopped':
      return { phase: 'stopping', sinceMs: nowMs };
    case 'fetched':
      return state.phase === 'fetching' ? { ...state, phase: 'starting', sinceMs: nowMs } : state;
    case 'answered':
      return state.phase === 'starting'
        ? { phase: 'ready', sinceMs: nowMs, attempt: state.attempt, machine: event.machine }
        : state;
    case 'adopted':
      return state.phase === 'fetching'
        ? { phase: 'ready', sinceMs: nowMs, attempt: state.attempt, machine: event.machine }
        : state;
    case 'retried':
      return state.phase === 'waiting'
        ? {
            phase: 'fetching',
            sinceMs: nowMs,
            attempt: state.attempt + 1,
            hasServed: state.hasServed,
            reason: state.reason,
          }
        : state;
    case 'suspending':
      return state.phase === 'ready'
        ? { ...state, phase: 'suspending', sinceMs: nowMs, readySinceMs: state.sinceMs }
        : state;
    case 'suspended':
      return state.phase === 'suspending' ? suspendedState(nowMs) : state;
    case 'kept': {
      if (state.phase !== 'suspending') return state;
      const { machine, attempt, readySinceMs } = state;
      return { phase: 'ready', sinceMs: readySinceMs, attempt, machine };
    }
    case 'resumed':
      return state.phase === 'suspended'
        ? { phase: 'fetching', sinceMs: nowMs, attempt: 1, hasServed: true }
        : state;
    case 'failed':
      return afterFailure(state, event, nowMs);
  }
}

function afterFailure(state: VmState, event: VmEvent & { kind: 'failed' }, nowMs: number): VmState {
  if (!('attempt' in state) || state.phase === 'waiting') return state;
  const { reason } = event;
  const hasServed = !('hasServed' in state) || state.hasServed;
  if (event.isFinal || (!hasServed && state.attempt >= ATTEMPT_LIMIT)) {
    return { phase: 'failed', sinceMs: nowMs, reason };
  }
  const isSound = state.phase === 'ready' && nowMs - state.sinceMs >= SOUND_AFTER_MS;
  const attempt = isSound ? 1 : Math.min(state.attempt, hasServed ? SERVED_ATTEMPT_LIMIT : ATTEMPT_LIMIT);
  return {
    phase: 'waiting',
    sinceMs: nowMs,
    attempt,
    hasServed,
    retryAtMs: nowMs + retryDelayMs(attempt),
    reason,
  };
}
