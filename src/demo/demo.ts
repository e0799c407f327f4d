/**
 * The demo: a gateway, a photo site's origin, and the site's own image. It uses what users use: the command `orilla`, the
 * APIs, `/metrics`, and HTTP.
 * @module
 */
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type Clock, CloseStack } from '../base/index.ts';
import { entryPath, packagePath, runCommand } from '../platform/process/index.ts';
import { demoError } from './errors.ts';
import { Program } from './program.ts';
import { askStatus } from './web.ts';

export interface DemoOptions {
  /** The Orilla's data folder; what the demo itself makes stands below it. */
  readonly dataFolder: string;
  readonly portOffset: number;
  /** Says what is going on, a line at a time. */
  readonly say: (line: string) => void;
}

/** A demo that runs. */
export interface RunningDemo {
  readonly ports: DemoPorts;
  /** Runs the command `orilla` on the demo's data folder. */
  readonly orilla: (...args: string[]) => Promise<unknown>;
  /** Where everything that the programs of the demo say is written. */
  readonly logFolder: string;
  /** Resolves with a sentence when one of its programs ends by itself. */
  readonly failed: Promise<string>;
  close(): Promise<void>;
}

export interface DemoPorts {
  readonly gateway: number;
  readonly api: number;
  readonly control: number;
  readonly origin: number;
}

const SITE = 'photos';
export const SITE_HOST = `${SITE}.localhost`;
const EDGE_DOMAIN = 'edge.localhost';
export const VM_HOST = `${SITE}.${EDGE_DOMAIN}`;

export async function startDemo(clock: Clock, options: DemoOptions): Promise<RunningDemo> {
  const { portOffset, say } = options;
  const ports = { gateway: 8080, api: 8081, control: 8088, origin: 9000 };
  for (const name of Object.keys(ports) as (keyof DemoPorts)[]) ports[name] += portOffset;
  const folder = join(resolve(options.dataFolder), 'demo');
  const site = packagePath('examples', 'origin');
  const image = join(folder, 'image');
  const tokenFile = join(folder, `${SITE}.token`);
  const configFile = join(folder, 'orilla.yaml');
  if (!existsSync(site)) {
    throw demoError(
      'demo_failed',
      'the demo needs the photo site of examples/: run it in a checkout of the repository',
    );
  }
  await mkdir(folder, { recursive: true, mode: 0o750 });
  await writeFile(configFile, configuration(ports, portOffset, tokenFile));

  const parts = new CloseStack(clock);
  try {
    say("building the photo site's VM image from Debian packages");
    const orilla = (...args: string[]) =>
      runCommand(process.execPath, [entryPath('cli/main'), ...args, '--data', options.dataFolder], {
        timeoutMs: 300_000,
      });
    await orilla('image', 'build', 'web', '--name', SITE, '--content', join(site, 'site'), '--out', image);
    say(
      "starting the gateway; without KVM too it runs the origin's image (pool.allowUntrustedOnTcg), which is the demo's own",
    );
    const edge = await Program.start(clock, 'orilla up', join(folder, 'orilla.log'), [
      ...[entryPath('cli/main'), 'up', '--config', configFile],
      ...['--data', options.dataFolder, '--port-offset', String(portOffset)],
    ]);
    parts.add('gateway', edge);
    await edge.until(() => askStatus(ports.control).then(({ ready }) => ready));
    say("starting the photo site's origin");
    const origin = await Program.start(clock, 'origin', join(folder, 'origin.log'), [
      join(site, 'origin.ts'),
      ...['--port', String(ports.origin), '--image', image, '--token-file', tokenFile],
      ...['--gateway', `127.0.0.1:${ports.api}`],
    ]);
    parts.add('origin', origin);
    await origin.until(() => fetch(`http://127.0.0.1:${ports.origin}/stats`).then(({ ok }) => ok));
    return {
      ports,
      orilla,
      logFolder: folder,
      failed: Promise.race([edge.ended, origin.ended]),
      close: () => parts.close(),
    };
  } catch (error) {
    return parts.failWith(error);
  }
}

/** The origin's file names are not in it: the gateway knows a host, an address and a token, and nothing of the site. */
const configuration = (ports: DemoPorts, portOffset: number, tokenFile: string): string => `\
# Written by \`orilla demo\`; ports are moved by --port-offset.
gateway:
  listen: 127.0.0.1:${ports.gateway - portOffset}
  edgeDomain: ${EDGE_DOMAIN}
  api:
    listen: 127.0.0.1:${ports.api - portOffset}
  origins:
    ${SITE}:
      hosts: [${SITE_HOST}]
      upstream: http://127.0.0.1:${ports.origin}
      offload:
        tokenFile: ${JSON.stringify(tokenFile)}
pool:
  # The demo's image is its own. Where there is no KVM it would be refused, as an origin brings it.
  allowUntrustedOnTcg: true
  configurations:
    small: { cpus: 1, memory: 192 MiB }
control:
  listen: 127.0.0.1:${ports.control - portOffset}
`;
