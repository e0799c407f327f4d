import { type Clock, type Closable, CloseStack } from '../../base/index.ts';
import type { Listen } from '../../platform/sockets/index.ts';
import type { AuditLog, Log } from '../../platform/telemetry/index.ts';
import type { OriginVms } from '../origin-vms.ts';
import type { OriginDirectory } from '../origins/origin-directory.ts';
import type { RefusedLogins } from '../refused-logins.ts';
import type { Addresses } from '../vm-api/descriptions.ts';
import { CommandListener } from './command-listener.ts';
import { CommandRunner } from './command-runner.ts';
import { remoteCommands } from './commands.ts';
import { serveSsh } from './ssh-connection.ts';
import { readOrMakeSshHostKey } from './ssh-host-key.ts';
import { serveTelnet } from './telnet-connection.ts';

export interface RemoteCommandsDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly audit: Pick<AuditLog, 'audited'>;
  readonly refused: RefusedLogins;
  readonly origins: Pick<OriginDirectory, 'find' | 'originOf'>;
  readonly vms: OriginVms;
  /** Resolves when users are served as the VMs are now. */
  readonly settled: () => Promise<void>;
}

export interface RemoteCommandsOptions {
  readonly addresses: Addresses;
  readonly ssh?: { readonly listen: Listen; readonly hostKeyFile: string } | undefined;
  readonly telnet?: { readonly listen: Listen } | undefined;
}

/** The remote command line: by SSH, and in the document's form, telnet [gateway G13]. Each is off unless it is named. */
export class RemoteCommands implements Closable {
  readonly #parts: CloseStack;
  /** Those that are in use. */
  readonly ports: { readonly ssh: number | undefined; readonly telnet: number | undefined };

  private constructor(parts: CloseStack, ports: RemoteCommands['ports']) {
    this.#parts = parts;
    this.ports = ports;
  }

  /** @throws `port_taken`, `cannot_listen`, `secret_file_unusable` */
  static async start(deps: RemoteCommandsDeps, options: RemoteCommandsOptions): Promise<RemoteCommands> {
    const { clock, log, audit, refused, origins, vms, settled } = deps;
    const { addresses, ssh, telnet } = options;
    const parts = new CloseStack(clock);
    const commands = remoteCommands({ clock, addresses });
    const runner = new CommandRunner({ clock, log, audit, vms, commands, settled });
    const listenSsh = async ({ listen, hostKeyFile }: NonNullable<typeof ssh>) => {
      const { privateKey: hostKey, fingerprint } = await readOrMakeSshHostKey(hostKeyFile);
      const keysOf = (name: string) => origins.find(name)?.offload?.sshKeys ?? [];
      const sshDeps = { clock, log, runner, refused, keysOf, hostKey };
      const listener = await CommandListener.start(clock, listen, (socket) => serveSsh(sshDeps, socket));
      log.info({ port: listener.port, fingerprint }, 'ssh for origins is up');
      return parts.add('ssh', listener).port;
    };
    const listenTelnet = async ({ listen }: NonNullable<typeof telnet>) => {
      const telnetDeps = { clock, runner, refused, originOf: origins.originOf.bind(origins) };
      const serve = (socket: Parameters<typeof serveTelnet>[1]) => serveTelnet(telnetDeps, socket);
      return parts.add('telnet', await CommandListener.start(clock, listen, serve)).port;
    };
    try {
      return new RemoteCommands(parts, {
        ssh: ssh && (await listenSsh(ssh)),
        telnet: telnet && (await listenTelnet(telnet)),
      });
    } catch (error) {
      return parts.failWith(error);
    }
  }

  close(): Promise<void> {
    return this.#parts.close();
  }
}
