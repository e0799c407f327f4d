/**
 * h2load, the load generator for HTTP/2: as many requests as the other side answers, over connections that are kept, several
 * at a time on each.
 * @module
 */
import type { LoadSummary } from './load-summary.ts';
import { TLS_SUITE, TLS_VERSION } from './tls-setting.ts';

export interface H2Load {
  /** With the host of the site: it becomes server name and authority. */
  readonly url: string;
  /** Where that host is reached: `127.0.0.1:8443`. */
  readonly connectTo: string;
  readonly connections: number;
  readonly streams: number;
  readonly seconds: number;
}

export const h2loadArguments = ({ url, connectTo, connections, streams, seconds }: H2Load): string[] => [
  ...['--threads', '1', '--clients', `${connections}`, '--max-concurrent-streams', `${streams}`],
  ...['--duration', `${seconds}`, `--connect-to=${connectTo}`, `--tls13-ciphers=${TLS_SUITE}`, url],
];

/** @throws when h2load did not come to its end, spoke anything but HTTP/2, or one of its connections was of no use. */
export function parseH2load(stdout: string): LoadSummary {
  const read = (pattern: RegExp): string[] => {
    const found = pattern.exec(stdout);
    if (!found) throw new Error(`h2load printed no summary: ${stdout.trim().slice(-300)}`);
    return found.slice(1);
  };
  const numbers = (pattern: RegExp): number[] => read(pattern).map(Number);
  const [requests = 0, failed = 0, timedOut = 0] = numbers(
    /^requests: .* (\d+) succeeded, (\d+) failed, \d+ errored, (\d+) timeout$/m,
  );
  const [bytes = 0] = numbers(/^traffic: \S+ \((\d+)\) total/m);
  const [duration = 0] = numbers(/^finished in (\d+\.\d+)s,/m);
  const [slowest = 0] = numbers(/^req\/s +: +(\d+\.\d+)/m);
  // A connection that is refused, or breaks before its first request, is no failed request.
  if (slowest === 0) throw new Error('h2load: a connection had no answer at all');
  const [version] = read(/^TLS Protocol: (\S+)$/m);
  const [protocol] = read(/^Application protocol: (\S+)$/m);
  if (version !== TLS_VERSION || protocol !== 'h2') {
    throw new Error(`h2load spoke ${protocol} over ${version}, not h2 over ${TLS_VERSION}`);
  }
  return { requests, bytes, durationUs: Math.round(duration * 1e6), failed: failed + timedOut };
}
