/**
 * The other end of the agent in a guest: lines of text over a virtio serial port named `orilla.agent`, and one message.
 *
 *     ← orilla-agent 1        the guest's server listens
 *     → pause                 before the template is taken
 *     ← paused                the server accepts nothing; the guest waits for the message
 *     → (the message)         in each clone: time, randomness, generation, name
 *     ← resumed               the server goes on
 *     → pause                 once more, of a clone that is to wait; and so on
 *
 * The message's layout is in `src/pool/image-builder/resume-program.ts`, what runs in the guest in `guest/web/agent`.
 * @module
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { type Clock, messageOf, type Random, randomId } from '../../../base/index.ts';
import { poolError } from '../../errors.ts';
import { RESUME_MESSAGE_BYTES } from '../../image-builder/resume-program.ts';

const CONNECT_RETRY_MS = 2;
/** The agent's lines are shorter; of what a guest says beyond that only the end is kept. */
const HEARD_LIMIT = 1024;

/** What makes a clone another machine than its siblings. @param name at most 63 octets, as a DNS label has. */
export function resumeMessage(name: string, nowMs: number, random: Random): Buffer {
  const message = Buffer.alloc(RESUME_MESSAGE_BYTES);
  const nowNanoseconds = BigInt(Math.floor(nowMs * 1000)) * 1000n;
  message.writeBigInt64LE(nowNanoseconds / 1_000_000_000n, 0);
  message.writeBigInt64LE(nowNanoseconds % 1_000_000_000n, 8);
  message.set(random.bytes(32), 16);
  message.write(`${randomId(random, 16)}\n`, 48);
  message.writeBigInt64LE(BigInt(message.write(name, 80, 63)), 72);
  return message;
}

export class GuestAgent {
  readonly #socket: Socket;
  #heard = '';

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('utf8').on('data', (text: string) => {
      this.#heard = (this.#heard + text).slice(-HEARD_LIMIT);
    });
    // Whoever waits for a line is told by `close`.
    socket.on('error', () => undefined);
  }

  /** Waits for a QEMU that has not made its socket yet, until `signal` aborts. */
  static async connect(clock: Clock, path: string, signal: AbortSignal): Promise<GuestAgent> {
    for (;;) {
      signal.throwIfAborted();
      const socket = connect(path);
      try {
        await once(socket, 'connect', { signal });
        return new GuestAgent(socket);
      } catch {
        socket.destroy();
        signal.throwIfAborted();
        await clock.sleep(CONNECT_RETRY_MS, signal);
      }
    }
  }

  tell(words: string | Buffer): void {
    this.#socket.write(words);
  }

  /**
   * Resolves when the guest has said this line; what it said before is forgotten.
   *
   * @throws `machine_failed` when the port is closed before, the signal's reason when that aborts.
   */
  async hear(line: string, signal: AbortSignal): Promise<void> {
    while (!this.#forgetThrough(line)) {
      if (this.#socket.closed || this.#socket.readableEnded) {
        throw poolError('machine_failed', `the guest's agent did not say "${line}"`);
      }
      await Promise.race([
        once(this.#socket, 'data', { signal }),
        once(this.#socket, 'close', { signal }),
      ]).catch((error: unknown) => {
        signal.throwIfAborted();
        throw poolError('machine_failed', `the guest's agent: ${messageOf(error)}`, error);
      });
    }
  }

  close(): void {
    this.#socket.destroy();
  }

  #forgetThrough(line: string): boolean {
    const said = `\n${this.#heard}`;
    const start = said.indexOf(`\n${line}\n`);
    if (start < 0) return false;
    this.#heard = said.slice(start + line.length + 2);
    return true;
  }
}
