import { resolve } from 'node:path';
import { messageOf, systemClock, systemRandom } from '../base/index.ts';
import { dataFolder, Edge, readEdgeConfig } from '../edge/index.ts';
import { AdjustableLog } from './adjustable-log.ts';
import { saveCompiledCode } from './compiled-code.ts';
import { Reloader } from './reloader.ts';

export interface UpOptions {
  readonly config: string;
  readonly data: string;
  readonly portOffset: number;
  readonly version: string;
}

/** `orilla up`: runs until a signal ends it; SIGHUP reloads the configuration. */
export async function up(options: UpOptions): Promise<void> {
  const config = await readEdgeConfig(options.config, options.portOffset);
  const log = new AdjustableLog(config.log);
  const signalled = firstSignal();
  const starting = Edge.start(
    { clock: systemClock, random: systemRandom, log, version: options.version },
    config,
    dataFolder(resolve(options.data)),
  );
  const reloader = new Reloader(() => reload(starting, log, options));
  process.on('SIGHUP', () => reloader.request());
  const edge = await starting;
  log.info(
    {
      gatewayPort: edge.gatewayPort,
      apiPort: edge.apiPort,
      sshPort: edge.sshPort,
      telnetPort: edge.telnetPort,
      controlPort: edge.controlPort,
      pid: process.pid,
    },
    'orilla is up',
  );
  saveCompiledCode();
  log.info({ signal: await signalled }, 'draining');
  try {
    await reloader.close();
    await edge.close();
    log.info({}, 'orilla has ended');
  } catch (err) {
    log.error({ err, reason: messageOf(err) }, 'not everything could be closed');
    process.exitCode = 1;
  }
}

/** Takes over the configuration as it is in the file now; when there is something wrong with it, the one before stays. */
async function reload(starting: Promise<Edge>, log: AdjustableLog, options: UpOptions): Promise<void> {
  try {
    const edge = await starting;
    const config = await readEdgeConfig(options.config, options.portOffset);
    const { applied, needRestart } = await edge.reload(config);
    log.setLevel(config.log);
    log.info({ applied }, 'configuration reloaded');
    if (needRestart.length > 0) log.warn({ keys: needRestart }, 'configuration keys wait for a restart');
  } catch (err) {
    log.error({ err, reason: messageOf(err) }, 'configuration not reloaded');
  }
}

/** One Ctrl-C may arrive twice: from the terminal, and from npm that passes it on. */
const SAME_SIGNAL_MS = 500;

/** Resolves at the first SIGTERM or SIGINT, whenever it comes; the second ends the process at once. */
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
  });
}
