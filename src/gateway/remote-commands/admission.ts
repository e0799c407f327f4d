import type { Socket } from 'node:net';
import type { Clock } from '../../base/index.ts';
import { Allowance } from '../allowance.ts';
import { clientNetwork } from '../data-plane/limits-client-network.ts';

/** Origins have a few programs each, that come, say one thing and go. */
const CONNECTIONS_LIMIT = 64;
const PER_CLIENT_LIMIT = 8;
const PER_CLIENT_A_MINUTE = 60;
/** A socket that takes nothing of what is sent to it is not filled any further. */
const UNSENT_LIMIT_BYTES = 256 * 1024;

/** Which connections are taken. Those that are beyond a limit are closed at once. */
export class Admission {
  readonly #attempts: Allowance;
  readonly #sockets = new Map<Socket, string>();

  constructor(clock: Clock) {
    this.#attempts = new Allowance(clock, PER_CLIENT_A_MINUTE);
  }

  admit(socket: Socket): boolean {
    const client = clientNetwork(socket.remoteAddress ?? '');
    const own = [...this.#sockets.values()].filter((other) => other === client).length;
    if (this.#sockets.size >= CONNECTIONS_LIMIT || own >= PER_CLIENT_LIMIT || !this.#attempts.take(client)) {
      socket.destroy();
      return false;
    }
    this.#sockets.set(socket, client);
    socket.once('close', () => this.#sockets.delete(socket));
    socket.on('error', () => undefined); // 'close' follows.
    socket.on('data', () => {
      if (socket.writableLength > UNSENT_LIMIT_BYTES) socket.destroy();
    });
    return true;
  }

  /** Ends all connections. */
  close(): void {
    for (const socket of this.#sockets.keys()) socket.destroy();
  }
}
