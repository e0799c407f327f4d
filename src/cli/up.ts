import { resolve } from 'node:path';
import { messageOf, systemClock, systemRandom } from '../base/index.ts';
import { dataFolder, Edge, readEdgeConfig } from '../edge/index.ts';
import { createLog } from '../platform/telemetry/index.ts';

export interface UpOptions {
  readonly config: string;
  readonly data: string;
  readonly portOffset: number;
  readonly version: string;
}

/** `orilla up`: runs until a signal ends it. */
export async function up(options: UpOptions): Promise<void> {
  const config = await readEdgeConfig(options.config, options.portOffset);
  const log = createLog(config.log);
  const signalled = firstSignal();
  const starting = Edge.start(
    { clock: systemClock, random: systemRandom, log, version: options.version },
    config,
    dataFolder(resolve(options.data)),
  );
  const edge = await starting;
  log.info(
    { gatewayPort: edge.gatewayPort, apiPort: edge.apiPort, controlPort: edge.controlPort, pid: process.pid },
    'orilla is up',
  );
  log.info({ signal: await signalled }, 'draining');
  try {
    await edge.close();
    log.info({}, 'orilla has ended');
  } catch (err) {
    log.error({ err, reason: messageOf(err) }, 'not everything could be closed');
    process.exitCode = 1;
  }
}

/** One Ctrl-C may arrive twice: from the terminal, and from npm that passes it on. */
const SAME_SIGNAL_MS = 500;

/** Resolves at the first SIGTERM, SIGINT or SIGHUP, whenever it comes; the second ends the process at once. */
function firstSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolveSignal) => {
    let firstMs: number | undefined;
    const onSignal = (signal: NodeJS.Signals) => {
      firstMs ??= systemClock.monotonicMs();
      if (systemClock.monotonicMs() - firstMs > SAME_SIGNAL_MS) process.exit(1);
      resolveSignal(signal);
    };
    process.on('SIGTERM', onSignal);
    process.on('SIGINT', onSignal);
    process.on('SIGHUP', onSignal);
  });
}
