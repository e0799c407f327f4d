/**
 * Requests at a constant rate, whatever the other side does: an open loop. Each is due at its own moment, and its latency
 * counts from that moment, also while it waits for a free connection; so a server that stalls is charged for all whom it
 * kept waiting ("coordinated omission" is the error of not doing so).
 * @module
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { z } from 'zod';
import { percentile } from '../figures.ts';
import { ResponseReader } from './response-reader.ts';

export interface OpenLoopOptions {
  readonly port: number;
  readonly host: string;
  readonly path: string;
  readonly requestsPerSecond: number;
  readonly durationMs: number;
  readonly connections: number;
  /** How long answers may still come after the last request was due. */
  readonly drainMs: number;
}

export const openLoopResultSchema = z.object({
  requests: z.int(),
  /** At the end of the drain time: their latencies are counted as what they were until then, which is too little. */
  unanswered: z.int(),
  /** From the first due moment to the last answer. */
  answeredPerSecond: z.number(),
  p50Ms: z.number(),
  p99Ms: z.number(),
  p999Ms: z.number(),
  maxMs: z.number(),
  /** How late the generator itself looked at what was due: the part of the latency that is its own. */
  ownDelayP99Ms: z.number(),
});
export type OpenLoopResult = z.output<typeof openLoopResultSchema>;

const BUFFER_BYTES = 64 * 1024;

export async function runOpenLoop(options: OpenLoopOptions): Promise<OpenLoopResult> {
  const loop = new OpenLoop(options);
  try {
    await loop.connect();
    return await loop.run();
  } finally {
    loop.close();
  }
}

interface Connection {
  readonly socket: Socket;
  /** Which request is on its way, -1 for none. */
  current: number;
}

class OpenLoop {
  readonly #options: OpenLoopOptions;
  readonly #intervalMs: number;
  readonly #request: Buffer;
  readonly #latenciesMs: Float64Array;
  readonly #ownDelaysMs: Float64Array;
  readonly #connections: Connection[] = [];
  readonly #idle: Connection[] = [];
  #startMs = 0;
  #due = 0;
  #sent = 0;
  #answered = 0;
  #lastAnswerMs = 0;
  #failure: Error | undefined;

  constructor(options: OpenLoopOptions) {
    const { host, path, requestsPerSecond, durationMs } = options;
    this.#options = options;
    this.#intervalMs = 1000 / requestsPerSecond;
    this.#request = Buffer.from(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    const count = Math.max(1, Math.floor(durationMs / this.#intervalMs));
    this.#latenciesMs = new Float64Array(count).fill(-1);
    this.#ownDelaysMs = new Float64Array(count);
  }

  async connect(): Promise<void> {
    for (let count = 0; count < this.#options.connections; count += 1) {
      const reader = new ResponseReader();
      const socket = connect({
        host: '127.0.0.1',
        port: this.#options.port,
        noDelay: true,
        // One buffer for all that comes: no garbage, so no pause that would pass for the server's.
        onread: {
          buffer: Buffer.allocUnsafe(BUFFER_BYTES),
          callback: (length, buffer) => {
            this.#onData(connection, reader, Buffer.from(buffer.buffer, buffer.byteOffset, length));
            return true;
          },
        },
      });
      const connection: Connection = { socket, current: -1 };
      socket.on('error', (error) => this.#fail(error));
      socket.on('close', () => this.#fail(new Error('the server closed a connection')));
      this.#connections.push(connection);
      await once(socket, 'connect');
      this.#idle.push(connection);
    }
  }

  run(): Promise<OpenLoopResult> {
    const { durationMs, drainMs } = this.#options;
    const count = this.#latenciesMs.length;
    this.#startMs = performance.now();
    return new Promise((resolve, reject) => {
      // Looks at the clock as often as the event loop turns: timers have a grain of a millisecond. No promise a turn, which
      // would be garbage.
      const turn = (): void => {
        const nowMs = performance.now() - this.#startMs;
        for (; this.#due < count && this.#due * this.#intervalMs <= nowMs; this.#due += 1) {
          this.#ownDelaysMs[this.#due] = nowMs - this.#due * this.#intervalMs;
        }
        this.#sendWhatIsDue();
        if (this.#failure) reject(this.#failure);
        else if (this.#answered === count || nowMs >= durationMs + drainMs) resolve(this.#result(nowMs));
        else setImmediate(turn);
      };
      turn();
    });
  }

  close(): void {
    for (const { socket } of this.#connections) socket.removeAllListeners('close').destroy();
  }

  #sendWhatIsDue(): void {
    while (this.#sent < this.#due) {
      const connection = this.#idle.pop();
      if (!connection) return;
      connection.current = this.#sent;
      this.#sent += 1;
      connection.socket.write(this.#request);
    }
  }

  #onData(connection: Connection, reader: ResponseReader, piece: Buffer): void {
    try {
      const ended = reader.push(piece);
      if (ended === 0) return;
      if (ended > 1 || connection.current < 0) throw new Error('an answer came that nobody had asked for');
      this.#lastAnswerMs = performance.now() - this.#startMs;
      this.#latenciesMs[connection.current] = this.#lastAnswerMs - connection.current * this.#intervalMs;
      this.#answered += 1;
      connection.current = -1;
      this.#idle.push(connection);
      this.#sendWhatIsDue();
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #fail(error: Error): void {
    this.#failure ??= error;
  }

  #result(nowMs: number): OpenLoopResult {
    const latencies = latenciesUntil(this.#latenciesMs, this.#intervalMs, nowMs);
    const at = (percent: number) => percentile(latencies, percent);
    return {
      requests: latencies.length,
      unanswered: latencies.length - this.#answered,
      answeredPerSecond: (this.#answered / this.#lastAnswerMs) * 1000 || 0,
      p50Ms: at(50),
      p99Ms: at(99),
      p999Ms: at(99.9),
      maxMs: at(100),
      ownDelayP99Ms: percentile([...this.#ownDelaysMs], 99),
    };
  }
}

/** Latencies with those of requests without an answer (negative) as what they are at `nowMs`. */
export const latenciesUntil = (latenciesMs: Float64Array, intervalMs: number, nowMs: number): number[] =>
  Array.from(latenciesMs, (latencyMs, index) => (latencyMs < 0 ? nowMs - index * intervalMs : latencyMs));
