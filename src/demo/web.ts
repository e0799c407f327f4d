import { request } from 'node:http';
import { type Status, statusSchema } from '../edge/schema.ts';

/** What a visitor of the demo's site sees. */
export interface Visit {
  readonly status: number;
  /** `Orilla-Served-By` */
  readonly servedBy: string;
  readonly bodyBytes: number;
  readonly totalMs: number;
}

const TIMEOUT_MS = 30_000;

/**
 * Asks the gateway for a page as a browser would. The connection goes to loopback whatever the host is called: not every
 * system's resolver knows that names under `localhost` are this machine (RFC 6761 §6.3).
 */
export function visit(port: number, host: string, path = '/'): Promise<Visit> {
  const startMs = performance.now();
  return new Promise((resolve, reject) => {
    const headers = { Host: `${host}:${port}` };
    const asked = request(
      { host: '127.0.0.1', port, path, headers, agent: false, timeout: TIMEOUT_MS },
      (answer) => {
        let bodyBytes = 0;
        answer.on('data', (chunk: Buffer) => {
          bodyBytes += chunk.length;
        });
        answer.on('error', reject);
        answer.on('end', () =>
          resolve({
            status: answer.statusCode ?? 0,
            servedBy: String(answer.headers['orilla-served-by'] ?? ''),
            bodyBytes,
            totalMs: performance.now() - startMs,
          }),
        );
      },
    );
    asked.on('timeout', () =>
      asked.destroy(new Error(`${host} did not answer within ${TIMEOUT_MS / 1000} s`)),
    );
    asked.on('error', reject);
    asked.end();
  });
}

export async function askStatus(port: number): Promise<Status> {
  const answer = await fetch(`http://127.0.0.1:${port}/api/v1/status`);
  return statusSchema.parse(await answer.json());
}

/** One value of `/metrics`, the sum over the lines whose labels match. */
export async function readMetric(
  port: number,
  name: string,
  labels: Readonly<Record<string, string>>,
): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  return text
    .split('\n')
    .filter((line) => line.startsWith(`${name}{`) && wanted.every((label) => line.includes(label)))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}
