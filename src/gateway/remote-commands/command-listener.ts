import { createServer, type Server, type Socket } from 'node:net';
import type { Clock, Closable } from '../../base/index.ts';
import { type Listen, listenError } from '../../platform/sockets/index.ts';
import { Admission } from './admission.ts';

/** Listens for connections of remote commands, and hands on those that are admitted. */
export class CommandListener implements Closable {
  readonly #admission: Admission;
  readonly #server: Server;

  private constructor(clock: Clock, serve: (socket: Socket) => void) {
    this.#admission = new Admission(clock);
    // A side that has said all may still hear the answer.
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      if (this.#admission.admit(socket)) serve(socket);
    });
  }

  /** @throws `port_taken`, `cannot_listen` */
  static async start(clock: Clock, where: Listen, serve: (socket: Socket) => void): Promise<CommandListener> {
    const listener = new CommandListener(clock, serve);
    const server = listener.#server;
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => reject(listenError(error, where)));
      server.listen({ host: where.host, port: where.port }, resolve);
    });
    return listener;
  }

  get port(): number {
    const address = this.#server.address();
    return address !== null && typeof address === 'object' ? address.port : 0;
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#admission.close();
    await closed;
  }
}
