/**
 * The wire to QEMU's guest agent: JSON objects, one a line, over the Unix socket that a machine has for it (QEMU, "QEMU Guest
 * Agent Protocol"). Requests and answers are matched by their order alone, so one is under way at a time, and after anything
 * unforeseen, such as what another client left half-done, the wire is brought back in step:
 *
 *     → 0xff {"execute": "guest-sync-delimited", "arguments": {"id": N}}
 *     ← (anything) 0xff {"return": N}
 *
 * The guest's answers are not to be trusted: their length is bounded, and who asks checks their form.
 * @module
 */
import { connect, type Socket } from 'node:net';
import { type Clock, messageOf, type Random } from '../../base/index.ts';
import { poolError } from '../errors.ts';

/** An answer without a program's output. */
const SHORT_ANSWER_BYTES = 64 * 1024;
/** The machine's port takes one visitor at a time: whoever has nothing to ask leaves. */
const IDLE_MS = 1000;
const DELIMITER = 0xff;
const LF = 0x0a;

export interface AskOptions {
  readonly limitMs: number;
  /** A longer answer is not taken. */
  readonly answerLimitBytes?: number;
  readonly signal?: AbortSignal | undefined;
}

/** What is waited for: a line, from the delimiter on when there is to be one. */
interface Awaited {
  readonly limitBytes: number;
  isInStep: boolean;
  readonly resolve: (line: Buffer) => void;
  readonly reject: (error: Error) => void;
}

export class AgentChannel {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #path: string;
  #socket: Socket | undefined;
  /** Of the line that is under way. */
  #parts: Buffer[] = [];
  #partBytes = 0;
  #awaited: Awaited | undefined;
  #isInStep = false;
  #turn: Promise<unknown> = Promise.resolve();
  #hangUp: Disposable | undefined;
  #isClosed = false;

  constructor(deps: { clock: Clock; random: Random }, path: string) {
    this.#clock = deps.clock;
    this.#random = deps.random;
    this.#path = path;
  }

  /**
   * Asks one thing, in turn, and gives what came as "return".
   *
   * @throws `guest_agent_missing` when nothing answers in time, `guest_command_failed` with the guest's words when it
   *   refuses, or says what is no answer.
   */
  ask(command: string, args: object, options: AskOptions): Promise<unknown> {
    return this.#inTurn(async () => {
      options.signal?.throwIfAborted();
      this.#hangUp?.[Symbol.dispose]();
      const socket = await this.#connected();
      try {
        if (!this.#isInStep) await this.#synchronize(socket, options);
        return returned(command, await this.#exchange(socket, encode(command, args), true, options));
      } finally {
        this.#hangUp = this.#clock.after(IDLE_MS, () => socket.destroy());
      }
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#hangUp?.[Symbol.dispose]();
    this.#socket?.destroy();
  }

  #inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  async #synchronize(socket: Socket, options: AskOptions): Promise<void> {
    const [a = 0, b = 0, c = 0] = this.#random.bytes(3);
    const id = (a << 16) | (b << 8) | c;
    const request = Buffer.concat([Buffer.of(DELIMITER), encode('guest-sync-delimited', { id })]);
    const answer = returned('guest-sync-delimited', await this.#exchange(socket, request, false, options));
    if (answer !== id) throw poolError('guest_command_failed', "the guest's agent is out of step");
    this.#isInStep = true;
  }

  /** Whatever goes wrong here leaves the wire out of step. */
  #exchange(socket: Socket, request: Buffer, isInStep: boolean, options: AskOptions): Promise<Buffer> {
    const { limitMs, signal, answerLimitBytes: limitBytes = SHORT_ANSWER_BYTES } = options;
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    const give = (error: Error) => {
      this.#isInStep = false;
      reject(error);
    };
    this.#awaited = { limitBytes, isInStep, resolve, reject: give };
    const timer = this.#clock.after(limitMs, () =>
      give(poolError('guest_agent_missing', "the guest's agent does not answer")),
    );
    const onAbort = () => give(signal?.reason as Error);
    signal?.addEventListener('abort', onAbort, { once: true });
    if (signal?.aborted) onAbort();
    socket.write(request);
    return promise.finally(() => {
      this.#awaited = undefined;
      timer[Symbol.dispose]();
      signal?.removeEventListener('abort', onAbort);
    });
  }

  async #connected(): Promise<Socket> {
    if (this.#isClosed) throw poolError('guest_agent_missing', 'the machine has ended');
    if (this.#socket) return this.#socket;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const socket = connect(this.#path, resolve);
    const lost = (error?: Error) => {
      if (this.#socket === socket) this.#socket = undefined;
      this.#isInStep = false;
      this.#parts = [];
      this.#partBytes = 0;
      const failure = poolError(
        'guest_agent_missing',
        `no way to the guest's agent: ${messageOf(error ?? 'closed')}`,
      );
      reject(failure);
      this.#awaited?.reject(failure);
    };
    socket.on('data', (octets: Buffer) => this.#read(octets));
    socket.on('error', lost).on('close', () => lost());
    // It keeps nobody's process alive.
    socket.unref();
    this.#socket = socket;
    await promise;
    return socket;
  }

  #read(octets: Buffer): void {
    for (let rest = octets; rest.length > 0; ) {
      const end = rest.indexOf(LF);
      const part = end < 0 ? rest : rest.subarray(0, end);
      rest = end < 0 ? rest.subarray(rest.length) : rest.subarray(end + 1);
      this.#parts.push(part);
      this.#partBytes += part.length;
      const limitBytes = this.#awaited?.limitBytes ?? SHORT_ANSWER_BYTES;
      if (this.#partBytes > limitBytes) {
        this.#socket?.destroy(new Error(`an answer of more than ${limitBytes} octets`));
        return;
      }
      if (end >= 0) this.#takeLine();
    }
  }

  #takeLine(): void {
    const line = Buffer.concat(this.#parts);
    this.#parts = [];
    this.#partBytes = 0;
    const awaited = this.#awaited;
    if (!awaited) {
      // Said without being asked: what comes next may be the answer to something else.
      this.#isInStep = false;
      return;
    }
    const begin = line.lastIndexOf(DELIMITER);
    if (begin < 0 && !awaited.isInStep) return;
    awaited.resolve(line.subarray(begin + 1));
  }
}

const encode = (command: string, args: object): Buffer =>
  Buffer.from(`${JSON.stringify({ execute: command, arguments: args })}\n`);

/** Of what a guest says in an error, for people. */
const WORDS_LIMIT = 300;

function returned(command: string, line: Buffer): unknown {
  const answer = parse(line);
  if (answer && 'return' in answer) return answer['return'];
  const error = answer?.['error'];
  const words =
    typeof error === 'object' && error !== null && 'desc' in error ? String(error.desc) : 'no answer';
  throw poolError('guest_command_failed', `${command} in the guest: ${words.slice(0, WORDS_LIMIT)}`);
}

function parse(line: Buffer): Record<string, unknown> | undefined {
  try {
    const value = JSON.parse(line.toString('utf8')) as unknown;
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
