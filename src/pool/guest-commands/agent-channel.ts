/**
 * The wire to QEMU's guest agent: JSON objects, one a line, over the Unix socket that a machine has for it (QEMU, "QEMU Guest
 * Agent Protocol"). Requests and answers are matched by their order alone, so one is under way at a time, and after anything
 * unforeseen, such as what another client left half-done, the wire is brought back in step:
 *
 *     → 0xff {"execute": "guest-sync-delimited", "arguments": {"id": N}}
 *     ← (anything) 0xff {"return": N}
 *
 * That is said again while nothing answers: what is said before an agent has opened its end may be lost there, and one that
 * is started at the first word to it never hears that. So an answer may come late, and is known by its delimiter. The one
 * before the request is said once: QEMU's agent answers to that, too, with an error.
 *
 * The connection stays: QEMU's agent looks ten times a second for one that is not there, and takes a processor for itself
 * when it has something to answer and nobody is.
 *
 * The guest's answers are not to be trusted: their length is bounded, and who asks checks their form.
 * @module
 */
import { connect, type Socket } from 'node:net';
import { type Clock, messageOf, type Random } from '../../base/index.ts';
import { poolError } from '../errors.ts';

/** An answer without a program's output. */
const SHORT_ANSWER_BYTES = 64 * 1024;
const SAY_AGAIN_MS = 100;
const DELIMITER = 0xff;
const LF = 0x0a;

export interface AskOptions {
  readonly limitMs: number;
  /** A longer answer is not taken. */
  readonly answerLimitBytes?: number;
  readonly signal?: AbortSignal | undefined;
}

/** What is waited for. */
interface Awaited {
  readonly limitBytes: number;
  /** What it is the answer to, by the number; absent for a command's answer. */
  readonly synchronization: number | undefined;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: Error) => void;
}

export class AgentChannel {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #path: string;
  readonly #onConnect: () => void;
  #socket: Socket | undefined;
  /** Of the line that is under way. */
  #parts: Buffer[] = [];
  #partBytes = 0;
  #awaited: Awaited | undefined;
  #isInStep = false;
  #turn: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  constructor(deps: { clock: Clock; random: Random }, path: string, onConnect: () => void) {
    this.#clock = deps.clock;
    this.#random = deps.random;
    this.#path = path;
    this.#onConnect = onConnect;
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
      const socket = await this.#connected();
      if (!this.#isInStep) await this.#synchronize(socket, options);
      const answer = this.#hear(undefined, options);
      socket.write(encode(command, args));
      return returned(command, await answer);
    });
  }

  close(): void {
    this.#isClosed = true;
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
    const request = encode('guest-sync-delimited', { id });
    const answered = new AbortController();
    const answer = this.#hear(id, options).finally(() => answered.abort());
    socket.write(Buffer.of(DELIMITER));
    void this.#sayUntil(answered.signal, socket, request);
    await answer;
    this.#isInStep = true;
  }

  async #sayUntil(heard: AbortSignal, socket: Socket, request: Buffer): Promise<void> {
    while (!heard.aborted) {
      socket.write(request);
      await this.#clock.sleep(SAY_AGAIN_MS, heard).catch(() => undefined);
    }
  }

  /** Whatever goes wrong here leaves the wire out of step. */
  #hear(synchronization: number | undefined, options: AskOptions): Promise<Answer> {
    const { limitMs, signal, answerLimitBytes: limitBytes = SHORT_ANSWER_BYTES } = options;
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const give = (error: Error) => {
      this.#isInStep = false;
      reject(error);
    };
    this.#awaited = { limitBytes, synchronization, resolve, reject: give };
    const timer = this.#clock.after(limitMs, () =>
      give(poolError('guest_agent_missing', "the guest's agent does not answer")),
    );
    const onAbort = () => give(signal?.reason as Error);
    signal?.addEventListener('abort', onAbort, { once: true });
    if (signal?.aborted) onAbort();
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
    this.#onConnect();
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
    const delimiter = line.lastIndexOf(DELIMITER);
    const answer = parse(line.subarray(delimiter + 1));
    const awaited = this.#awaited;
    if (delimiter >= 0) {
      if (awaited?.synchronization !== undefined && answer?.['return'] === awaited.synchronization) {
        awaited.resolve(answer);
      }
    } else if (!awaited) {
      // Said without being asked: what comes next may be the answer to something else.
      this.#isInStep = false;
    } else if (awaited.synchronization === undefined) {
      awaited.resolve(answer);
    }
  }
}

const encode = (command: string, args: object): Buffer =>
  Buffer.from(`${JSON.stringify({ execute: command, arguments: args })}\n`);

/** Of what a guest says in an error, for people. */
const WORDS_LIMIT = 300;

/** `undefined` for what is none. */
type Answer = Record<string, unknown> | undefined;

function returned(command: string, answer: Answer): unknown {
  if (answer && 'return' in answer) return answer['return'];
  const error = answer?.['error'];
  const words =
    typeof error === 'object' && error !== null && 'desc' in error ? String(error.desc) : 'no answer';
  throw poolError('guest_command_failed', `${command} in the guest: ${words.slice(0, WORDS_LIMIT)}`);
}

function parse(line: Buffer): Answer {
  try {
    const value = JSON.parse(line.toString('utf8')) as unknown;
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
