import type { UpstreamFailure } from './upstream.ts';

/** Why nobody answered a request. `busy`: nobody was asked. */
export type GiveUpReason = UpstreamFailure['reason'] | 'busy';

/** What the client is told then. */
export const GIVE_UP_STATUS: Readonly<Record<GiveUpReason, number>> = {
  refused: 502,
  broken: 502,
  timeout: 504,
  busy: 503,
  forbidden: 403,
};

const WHAT: Readonly<Record<GiveUpReason, string>> = {
  refused: 'cannot be reached',
  timeout: 'did not answer in time',
  broken: 'broke off before it answered',
  forbidden: 'has no address that this gateway may ask',
  busy: 'is not asked for a moment: it failed too often, or has too many requests',
};

/**
 * A sentence for the client, and for the log.
 *
 * @param vmName the VM that was asked; `undefined` when it was the origin.
 */
export function describeFailure(
  reason: GiveUpReason,
  vmName: string | undefined,
  origin: string,
  isAnswering: boolean,
): string {
  const inTheMiddle = reason === 'broken' && isAnswering;
  if (inTheMiddle) return `${vmName === undefined ? origin : 'the VM'} ended in the middle of its answer`;
  return `${vmName === undefined ? origin : `the VM ${vmName}`} ${WHAT[reason]}`;
}
