/** What a load generator has counted. */
export interface LoadSummary {
  readonly requests: number;
  /** Octets of answers, heads included. */
  readonly bytes: number;
  readonly durationUs: number;
  readonly failed: number;
}
