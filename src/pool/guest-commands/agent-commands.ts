import { z } from 'zod';
import { type Clock, CodedError, formatDuration, hasCode, type Random } from '../../base/index.ts';
import { poolError } from '../errors.ts';
import { AgentChannel } from './agent-channel.ts';
import type { ExecOptions, ExecOutcome, GuestCommands } from './guest-commands.ts';

/** A guest that is busy booting its services, or whose host is busy, answers in a second. */
const ANSWER_LIMIT_MS = 10_000;
/** It answers in 20 ms when it is there; one that is just being started may take longer. */
const PING_LIMIT_MS = 5000;
const REFUSAL_LIMIT_MS = 300;
/** Later it would not be the time any more. */
const SET_TIME_LIMIT_MS = 1000;
/** QEMU's agent collects 16 MiB of each output (`GUEST_EXEC_MAX_OUTPUT`), and gives them in base64. */
const OUTPUTS_LIMIT_BYTES = 2 * Math.ceil((16 * 2 ** 20 * 4) / 3) + 64 * 1024;
/** In base64 in a line; the agent takes lines of some MiB. */
const INPUT_LIMIT_BYTES = 2 ** 20;
const WRITE_BYTES = 96 * 1024;
const ARGUMENTS_LIMIT_BYTES = 128 * 1024;
/** How often is looked whether a program has ended: soon at first. */
const [FIRST_LOOK_MS, LAST_LOOK_MS] = [2, 100];
const EXIT_BY_SIGNAL = 128;

const base64 = z.string().transform((text) => Buffer.from(text, 'base64'));
const statusSchema = z.object({
  exited: z.boolean(),
  exitcode: z.int().optional(),
  signal: z.int().optional(),
  'out-data': base64.optional(),
  'err-data': base64.optional(),
  'out-truncated': z.boolean().optional(),
  'err-truncated': z.boolean().optional(),
});
const startedSchema = z.object({ pid: z.int().min(1) });
const handleSchema = z.int();
const writtenSchema = z.object({ count: z.int().min(0) });

/** A guest's commands by QEMU's guest agent. */
export class AgentCommands implements GuestCommands {
  readonly #clock: Clock;
  readonly #channel: AgentChannel;

  /**
   * @param path of the socket that the machine has for it.
   * @param onConnect called when somebody first has to do with the guest: it is to be connected to from then on.
   */
  constructor(deps: { clock: Clock; random: Random }, path: string, onConnect: () => void = () => undefined) {
    this.#clock = deps.clock;
    this.#channel = new AgentChannel(deps, path, onConnect);
  }

  async ping(signal?: AbortSignal): Promise<void> {
    await this.#channel.ask('guest-ping', {}, { limitMs: PING_LIMIT_MS, signal });
  }

  async exec(argv: readonly string[], options: ExecOptions): Promise<ExecOutcome> {
    const { limitMs, signal } = options;
    const started = await this.#ask('guest-exec', execArguments(argv, options), startedSchema, signal);
    const endMs = this.#clock.monotonicMs() + limitMs;
    try {
      for (let delayMs = FIRST_LOOK_MS; ; delayMs = Math.min(2 * delayMs, LAST_LOOK_MS)) {
        const status = await this.#ask(
          'guest-exec-status',
          started,
          statusSchema,
          signal,
          OUTPUTS_LIMIT_BYTES,
        );
        if (status.exited) return outcomeOf(status, options.outputLimitBytes);
        if (this.#clock.monotonicMs() > endMs) {
          const what = JSON.stringify(argv[0]?.slice(0, 100));
          throw poolError('guest_command_timeout', `${what} had not ended after ${formatDuration(limitMs)}`);
        }
        await this.#clock.sleep(delayMs, signal);
      }
    } catch (error) {
      if (hasCode(error, 'guest_command_timeout') || signal?.aborted) await this.#kill(started.pid);
      throw error;
    }
  }

  async writeFile(path: string, content: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
    const handle = await this.#ask('guest-file-open', { path, mode: 'w' }, handleSchema, signal);
    try {
      for await (const chunk of content) {
        for (let at = 0; at < chunk.length; ) {
          const part = Buffer.from(chunk.subarray(at, at + WRITE_BYTES)).toString('base64');
          const write = { handle, 'buf-b64': part };
          const { count } = await this.#ask('guest-file-write', write, writtenSchema, signal);
          if (count === 0) throw poolError('guest_command_failed', `the guest has no room for ${path}`);
          at += count;
        }
      }
    } finally {
      await this.#ask('guest-file-close', { handle }, z.unknown());
    }
  }

  async setTime(nowMs: number): Promise<void> {
    const options = { limitMs: SET_TIME_LIMIT_MS };
    await this.#channel.ask('guest-set-time', { time: Math.floor(nowMs) * 1e6 }, options);
  }

  async shutDown(signal?: AbortSignal): Promise<void> {
    await this.ping(signal);
    const options = { limitMs: REFUSAL_LIMIT_MS, signal };
    await this.#channel.ask('guest-shutdown', { mode: 'powerdown' }, options).catch((error: unknown) => {
      // It has no answer but a refusal.
      if (!hasCode(error, 'guest_agent_missing')) throw error;
    });
  }

  close(): void {
    this.#channel.close();
  }

  async #ask<Schema extends z.ZodType>(
    command: string,
    args: object,
    schema: Schema,
    signal?: AbortSignal,
    answerLimitBytes?: number,
  ): Promise<z.output<Schema>> {
    const limits = answerLimitBytes === undefined ? {} : { answerLimitBytes };
    const answer = await this.#channel.ask(command, args, { limitMs: ANSWER_LIMIT_MS, signal, ...limits });
    const parsed = schema.safeParse(answer);
    if (parsed.success) return parsed.data;
    throw poolError(
      'guest_command_failed',
      `${command} in the guest: an answer of another form`,
      parsed.error,
    );
  }

  /** What it had started itself may go on: the agent knows one process. */
  async #kill(pid: number): Promise<void> {
    const kill = { path: 'kill', arg: ['-KILL', String(pid)], 'capture-output': false };
    await this.#ask('guest-exec', kill, startedSchema).catch((error: unknown) => {
      if (!(error instanceof CodedError)) throw error;
    });
  }
}

function execArguments([path = '', ...arg]: readonly string[], { env = {}, input }: ExecOptions): object {
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const all = [path, ...arg, ...variables];
  const sizeBytes = all.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  const fault =
    path === ''
      ? 'there is no program'
      : all.some((text) => text.includes('\0'))
        ? 'no argument can hold a NUL'
        : sizeBytes > ARGUMENTS_LIMIT_BYTES
          ? `its arguments are longer than ${ARGUMENTS_LIMIT_BYTES} octets`
          : (input?.length ?? 0) > INPUT_LIMIT_BYTES
            ? `its input is longer than ${INPUT_LIMIT_BYTES} octets`
            : undefined;
  if (fault !== undefined)
    throw poolError('guest_command_invalid', `${JSON.stringify(path.slice(0, 100))}: ${fault}`);
  return {
    path,
    arg,
    ...(variables.length > 0 && { env: variables }),
    ...(input && { 'input-data': Buffer.from(input).toString('base64') }),
    'capture-output': true,
  };
}

function outcomeOf(status: z.output<typeof statusSchema>, limitBytes: number): ExecOutcome {
  const { 'out-data': stdout = Buffer.alloc(0), 'err-data': stderr = Buffer.alloc(0) } = status;
  return {
    status: status.exitcode ?? EXIT_BY_SIGNAL + (status.signal ?? 0),
    stdout: stdout.subarray(0, limitBytes),
    stderr: stderr.subarray(0, limitBytes),
    truncated:
      status['out-truncated'] === true ||
      status['err-truncated'] === true ||
      Math.max(stdout.length, stderr.length) > limitBytes,
  };
}
