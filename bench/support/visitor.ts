import { createHash } from 'node:crypto';
import { Agent, request } from 'node:http';
import type { Socket } from 'node:net';
import { messageOf } from '../../src/base/index.ts';

export interface Asked {
  readonly method: 'GET' | 'HEAD' | 'POST';
  /** Host name, without port. */
  readonly host: string;
  readonly path: string;
  readonly body?: Buffer;
}

/** What a visitor saw of one request: all that he can know, and nothing else. */
export interface Seen {
  readonly asked: Asked;
  /** Absent when no whole head came. */
  readonly status?: number;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  /** Whether the answer was whole: it ended as its head had announced. */
  readonly isWhole: boolean;
  /** Octets of the answer that came in over the connection, head included. */
  readonly receivedBytes: number;
  readonly bodyBytes: number;
  readonly bodySha256: string;
  /** When the request was handed to its connection, on `performance.now()`. */
  readonly startMs: number;
  /** From there to the head of the answer. */
  readonly firstByteMs?: number;
  readonly totalMs: number;
  readonly error?: string;
}

const SILENCE_TIMEOUT_MS = 60_000;

/** Asks a gateway on loopback as browsers do, over a few kept connections. Never asks twice by itself. */
export class Visitor {
  readonly #port: number;
  readonly #agent: Agent;
  readonly #signal: AbortSignal;
  readonly #sockets = new WeakSet<Socket>();
  /** How many it has opened so far. */
  connections = 0;

  constructor(port: number, connections: number, signal: AbortSignal) {
    this.#port = port;
    this.#agent = new Agent({ keepAlive: true, maxSockets: connections });
    this.#signal = signal;
  }

  close(): Promise<void> {
    this.#agent.destroy();
    return Promise.resolve();
  }

  /** Resolves when the answer is over, however it went; rejects only when the bench is ended. */
  async ask(asked: Asked): Promise<Seen> {
    this.#signal.throwIfAborted();
    const seen = await this.#ask(asked);
    this.#signal.throwIfAborted();
    return seen;
  }

  #ask(asked: Asked): Promise<Seen> {
    const { method, host, path, body } = asked;
    const hash = createHash('sha256');
    const seen = { bodyBytes: 0, isWhole: false, headers: {} };
    const more: { status?: number; firstByteMs?: number; error?: string } = {};
    let receivedBytes = () => 0;
    const startMs = performance.now();
    return new Promise((resolve) => {
      const outgoing = request(
        {
          host: '127.0.0.1',
          port: this.#port,
          method,
          path,
          agent: this.#agent,
          signal: this.#signal,
          timeout: SILENCE_TIMEOUT_MS,
          headers: {
            host: `${host}:${this.#port}`,
            ...(body && {
              'content-type': 'application/x-www-form-urlencoded',
              'content-length': body.length,
            }),
          },
        },
        (answer) => {
          more.firstByteMs = performance.now() - startMs;
          if (answer.statusCode !== undefined) more.status = answer.statusCode;
          seen.headers = answer.headers;
          answer.on('data', (chunk: Buffer) => {
            seen.bodyBytes += chunk.length;
            hash.update(chunk);
          });
          answer.on('end', () => {
            seen.isWhole = answer.complete;
          });
          answer.on('error', (error) => {
            more.error = messageOf(error);
          });
        },
      );
      outgoing.once('socket', (socket) => {
        if (!this.#sockets.has(socket)) this.connections += 1;
        this.#sockets.add(socket);
        // A kept connection has carried other answers before.
        const before = socket.bytesRead;
        receivedBytes = () => socket.bytesRead - before;
      });
      outgoing.on('timeout', () => outgoing.destroy(new Error(`silent for ${SILENCE_TIMEOUT_MS / 1000} s`)));
      outgoing.on('error', (error) => {
        more.error = messageOf(error);
      });
      outgoing.on('close', () =>
        resolve({
          asked,
          ...seen,
          ...more,
          receivedBytes: receivedBytes(),
          bodySha256: hash.digest('hex'),
          startMs,
          totalMs: performance.now() - startMs,
        }),
      );
      outgoing.end(body);
    });
  }
}
