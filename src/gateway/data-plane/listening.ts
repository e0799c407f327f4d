import type { Server } from 'node:net';
import { messageOf } from '../../base/index.ts';
import { type Listen, listenError } from '../../platform/sockets/index.ts';
import type { Log } from '../../platform/telemetry/index.ts';

/** Connections that the kernel holds until they are accepted. */
const BACKLOG = 1024;

/**
 * Has a server listen.
 *
 * @param sharesPort several processes listen there, and the kernel spreads the connections over them.
 * @throws `port_taken`, `cannot_listen`
 */
export function listenOn(
  server: Server,
  listen: Listen,
  sharesPort: boolean,
  log: Omit<Log, 'child'>,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: Error) => reject(listenError(error, listen));
    server.once('error', onError);
    server.listen({ ...listen, backlog: BACKLOG, reusePort: sharesPort }, () => {
      server.off('error', onError);
      // Too many files are open, say: the connections that are open go on.
      server.on('error', (error) => log.error({ reason: messageOf(error) }, 'a connection was not accepted'));
      resolve();
    });
  });
}

/** The port in use; 0 while it does not listen. */
export function portOf(server: Server | undefined): number {
  const address = server?.address();
  return address !== null && typeof address === 'object' ? address.port : 0;
}
