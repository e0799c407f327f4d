/**
 * The loads under which the proxies are measured, and who generates them.
 * @module
 */
import { runCommand } from '../../src/platform/process/index.ts';
import type { Contest, Proxy } from './contest.ts';
import { h2loadArguments, parseH2load } from './h2load.ts';
import type { LoadSummary } from './load-summary.ts';
import { type Body, HOST, type Protocol } from './peers.ts';
import { pinned } from './pinned-program.ts';
import { parseWrk, wrkArguments } from './wrk.ts';

export interface Load {
  readonly protocol: Protocol;
  readonly body: Body;
}

/** Of HTTP/1.1: one request at a time on each. */
export const CONNECTIONS = 64;
/** Of HTTP/2: twice as many requests under way, on a quarter of the connections. */
export const H2_CONNECTIONS = 16;
export const H2_STREAMS = 8;

/** As many requests as the proxy answers. */
export async function generateLoad(
  contest: Contest,
  { ports }: Proxy,
  { protocol, body }: Load,
  seconds: number,
): Promise<LoadSummary> {
  const { programs, clientTlsFile, wrkScript } = contest;
  if (protocol === 'h2') {
    const url = `https://${HOST}/${body}`;
    const amount = { connections: H2_CONNECTIONS, streams: H2_STREAMS, seconds };
    const args = h2loadArguments({ url, connectTo: `127.0.0.1:${ports.https}`, ...amount });
    return parseH2load(await run(contest, [programs.h2load, ...args], seconds));
  }
  const url = `${protocol}://127.0.0.1:${ports[protocol]}/${body}`;
  const args = wrkArguments({ url, host: HOST, connections: CONNECTIONS, seconds, scriptFile: wrkScript });
  return parseWrk(await run(contest, [programs.wrk, ...args], seconds, { OPENSSL_CONF: clientTlsFile }));
}

async function run(
  { cores, signal }: Contest,
  generator: readonly string[],
  seconds: number,
  more: NodeJS.ProcessEnv = {},
): Promise<string> {
  const [command, ...args] = pinned(cores.others, generator);
  const env = { ...process.env, ...more };
  const { stdout } = await runCommand(command, args, { signal, env, timeoutMs: (seconds + 30) * 1000 });
  return stdout;
}
