import { HEAD_TIMEOUT_MS } from './client-timeouts.ts';

/** What one client, and one origin, may have at a time. In each process that serves. */
export interface Limits {
  readonly connectionsPerClient: number;
  /** Not limited when absent. */
  readonly requestsPerSecondPerClient?: number | undefined;
  /** Requests under way; those beyond are told to come back. */
  readonly requestsPerOrigin: number;
  /** A request's head has to be whole this long after its first octet. */
  readonly headTimeoutMs: number;
}

export const DEFAULT_LIMITS: Limits = {
  connectionsPerClient: 512,
  requestsPerOrigin: 4096,
  headTimeoutMs: HEAD_TIMEOUT_MS,
};

/** Which limit a request or a connection met. */
export type LimitName = 'connections_per_client' | 'requests_per_second_per_client' | 'requests_per_origin';
