/**
 * wrk, the load generator: as many requests as the other side answers, over connections that are kept.
 * @module
 */
import { z } from 'zod';

const MARK = 'summary ';

/** Has wrk print exact counts at its end; what it prints by itself is rounded. Runs no line for a request. */
export const WRK_SCRIPT = `\
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\\n${MARK}{"requests":%.0f,"bytes":%.0f,"durationUs":%.0f,"failed":%.0f,"p50Us":%.0f,"p99Us":%.0f}\\n',
    summary.requests, summary.bytes, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
`;

const summarySchema = z.object({
  requests: z.int(),
  /** Octets of answers, heads included, of those too that were not whole at the end. */
  bytes: z.int(),
  durationUs: z.int(),
  /** Connections refused or broken, answers with a status above 399 or too late. */
  failed: z.int(),
  /** As wrk sees them at full load: a connection that waits sends nothing meanwhile. */
  p50Us: z.int(),
  p99Us: z.int(),
});
export type WrkSummary = z.output<typeof summarySchema>;

/** @throws when wrk did not come to its end. */
export function parseWrk(stdout: string): WrkSummary {
  const line = stdout.split('\n').find((candidate) => candidate.startsWith(MARK));
  if (line === undefined) throw new Error(`wrk printed no summary: ${stdout.trim().slice(-300)}`);
  return summarySchema.parse(JSON.parse(line.slice(MARK.length)));
}

export interface WrkLoad {
  readonly url: string;
  readonly host: string;
  readonly connections: number;
  readonly seconds: number;
  readonly scriptFile: string;
}

export const wrkArguments = ({ url, host, connections, seconds, scriptFile }: WrkLoad): string[] => [
  ...['--threads', '1', '--connections', `${connections}`, '--duration', `${seconds}s`],
  ...['--timeout', '10s', '--script', scriptFile, '--header', `Host: ${host}`, url],
];
