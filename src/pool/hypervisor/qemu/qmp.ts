/**
 * A client of the QEMU Machine Protocol: JSON objects, one a line, over a Unix socket.
 *
 *     ← {"QMP": {"version": …, "capabilities": […]}}                 greeting
 *     → {"execute": "qmp_capabilities", "id": 1}                     leaves negotiation mode
 *     → {"execute": NAME, "arguments": {…}, "id": N}
 *     ← {"return": …, "id": N}  or  {"error": {"class", "desc"}, "id": N}
 *     ← {"event": NAME, "data": {…}, "timestamp": {…}}               at any time
 *
 * Source: QEMU, docs/interop/qmp-spec. A monitor serves one client at a time.
 * @module
 */
import { connect, type Socket } from 'node:net';
import { type Clock, CodedError, messageOf, systemCode } from '../../../base/index.ts';
import { poolError } from '../../errors.ts';

/** QEMU's longest answers (schema introspection) are below 1 MiB; nothing that we ask comes near. */
const LINE_LIMIT_OCTETS = 1 << 20;
const COMMAND_TIMEOUT_MS = 10_000;
const CONNECT_RETRY_MS = 5;

type Waiting = { resolve: (value: unknown) => void; reject: (error: Error) => void; timer: Disposable };

export class QmpClient {
  readonly #clock: Clock;
  readonly #socket: Socket;
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;
  #received = '';
  #failure: Error | undefined;

  private constructor(clock: Clock, socket: Socket, onGreeting: () => void) {
    this.#clock = clock;
    this.#socket = socket;
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => this.#read(text, onGreeting));
    socket.on('error', (error) => this.#fail(error));
    socket.on('close', () => this.#fail(new Error('the monitor closed the connection')));
  }

  /**
   * Connects and negotiates; waits for a QEMU that has not made its socket yet, until `signal` aborts.
   *
   * @throws `machine_failed` when what answers is no QEMU or says nothing for 10 s.
   */
  static async connect(clock: Clock, path: string, signal: AbortSignal): Promise<QmpClient> {
    for (;;) {
      signal.throwIfAborted();
      try {
        return await QmpClient.#connectOnce(clock, path, signal);
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof CodedError) throw error;
        if (systemCode(error) !== 'ENOENT' && systemCode(error) !== 'ECONNREFUSED') {
          throw poolError('machine_failed', `QEMU: ${messageOf(error)}`, error);
        }
      }
      await clock.sleep(CONNECT_RETRY_MS, signal);
    }
  }

  static async #connectOnce(clock: Clock, path: string, signal: AbortSignal): Promise<QmpClient> {
    const greeted = Promise.withResolvers<void>();
    const socket = connect(path);
    const client = new QmpClient(clock, socket, greeted.resolve);
    const onFailure = (error?: Error) =>
      greeted.reject(error instanceof Error ? error : new Error('the monitor closed the connection'));
    socket.once('error', onFailure).once('close', () => onFailure());
    const timer = clock.after(COMMAND_TIMEOUT_MS, () => onFailure(new Error('no greeting from the monitor')));
    const onAbort = () => socket.destroy(new Error('the start was called off'));
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      await greeted.promise;
      await client.execute('qmp_capabilities');
      return client;
    } catch (error) {
      socket.destroy();
      throw error;
    } finally {
      timer[Symbol.dispose]();
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** @throws `machine_failed` with QEMU's own words when it refuses, is gone, or does not answer within 10 s. */
  execute(command: string, args?: object): Promise<unknown> {
    if (this.#failure) return Promise.reject(this.#error(command, this.#failure));
    const id = this.#nextId;
    this.#nextId += 1;
    return new Promise((resolve, reject) => {
      const timer = this.#clock.after(COMMAND_TIMEOUT_MS, () => {
        this.#waiting.delete(id);
        reject(this.#error(command, new Error(`no answer within ${COMMAND_TIMEOUT_MS} ms`)));
      });
      const fail = (error: Error) => reject(this.#error(command, error));
      this.#waiting.set(id, { resolve, reject: fail, timer });
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #read(text: string, onGreeting: () => void): void {
    this.#received += text;
    for (let end = this.#received.indexOf('\n'); end >= 0; end = this.#received.indexOf('\n')) {
      const line = this.#received.slice(0, end);
      this.#received = this.#received.slice(end + 1);
      try {
        this.#take(JSON.parse(line) as Record<string, unknown>, onGreeting);
      } catch (error) {
        this.#socket.destroy(new Error(`not QMP: ${messageOf(error)}`));
      }
    }
    if (this.#received.length > LINE_LIMIT_OCTETS)
      this.#socket.destroy(new Error('an endless line from the monitor'));
  }

  #take(message: Record<string, unknown>, onGreeting: () => void): void {
    if ('QMP' in message) {
      onGreeting();
      return;
    }
    const id = message['id'] as number;
    const waiting = this.#waiting.get(id);
    if (!waiting) return; // An event, or the answer to a command that was given up.
    this.#waiting.delete(id);
    waiting.timer[Symbol.dispose]();
    if ('error' in message)
      waiting.reject(new Error((message['error'] as { desc?: string } | null)?.desc ?? 'refused'));
    else waiting.resolve(message['return']);
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const { reject, timer } of this.#waiting.values()) {
      timer[Symbol.dispose]();
      reject(error);
    }
    this.#waiting.clear();
  }

  #error(command: string, cause: Error) {
    return poolError('machine_failed', `QEMU: ${command}: ${cause.message}`, cause);
  }
}
