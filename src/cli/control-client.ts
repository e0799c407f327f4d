import { request } from 'node:http';
import { resolve } from 'node:path';
import { z } from 'zod';
import { CodedError, defineErrors, formatDuration, systemCode } from '../base/index.ts';
import { dataFolder } from '../edge/index.ts';

const cliError = defineErrors({ not_running: 503, control_failed: 502 });

const errorSchema = z.object({ error: z.object({ code: z.string(), message: z.string() }) });
const ANSWER_LIMIT_BYTES = 64 * 2 ** 20;

/** Asks the Orilla that runs on a data folder, over its control socket. */
export class ControlClient {
  readonly #socketPath: string;
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
    this.#socketPath = dataFolder(resolve(folder)).controlSocket;
  }

  async get<Schema extends z.ZodType>(path: string, schema: Schema): Promise<z.output<Schema>> {
    return this.#read(await this.#ask('GET', path), schema);
  }

  async post<Schema extends z.ZodType>(
    path: string,
    body: object,
    schema: Schema,
    limitMs?: number,
  ): Promise<z.output<Schema>> {
    return this.#read(await this.#ask('POST', path, body, limitMs), schema);
  }

  async delete(path: string): Promise<void> {
    await this.command('DELETE', path);
  }

  /** Asks for something of which nothing is told but that it is done. */
  async command(method: 'POST' | 'DELETE', path: string): Promise<void> {
    await this.#ask(method, path);
  }

  #read<Schema extends z.ZodType>(text: string, schema: Schema): z.output<Schema> {
    const result = schema.safeParse(tryJson(text));
    if (result.success) return result.data;
    throw cliError(
      'control_failed',
      `the Orilla that runs on ${this.#folder} answers in a form that this command does not know: is it another version?`,
      result.error,
    );
  }

  /** @throws `not_running`, or the error with which the server answered. */
  async #ask(method: string, path: string, body?: object, limitMs = 30_000): Promise<string> {
    const headers = body ? { 'Content-Type': 'application/json' } : {};
    const options = { socketPath: this.#socketPath, path, method, headers, timeout: limitMs };
    const { status, text } = await new Promise<{ status: number; text: string }>((resolveAnswer, reject) => {
      const asked = request(options, (answer) => {
        let received = '';
        answer.setEncoding('utf8');
        answer.on('data', (chunk: string) => {
          received += chunk;
          if (received.length > ANSWER_LIMIT_BYTES) asked.destroy(new Error('an endless answer'));
        });
        answer.on('end', () => resolveAnswer({ status: answer.statusCode ?? 0, text: received }));
        answer.on('error', reject);
      });
      asked.on('timeout', () => asked.destroy(new Error(`no answer within ${formatDuration(limitMs)}`)));
      asked.on('error', (error) => reject(this.#describe(error)));
      asked.end(body && JSON.stringify(body));
    });
    if (status < 400) return text;
    const { error } = errorSchema.safeParse(tryJson(text)).data ?? {};
    throw error
      ? new CodedError(error.code, status, error.message)
      : cliError('control_failed', `${method} ${path} was answered with status ${status}`);
  }

  #describe(error: Error): Error {
    const code = systemCode(error);
    if (code === 'ENOENT' || code === 'ECONNREFUSED') {
      return cliError(
        'not_running',
        `no Orilla runs on ${this.#folder}; start one with "orilla up", or name its --data`,
        error,
      );
    }
    if (code === 'EACCES') {
      return cliError(
        'not_running',
        `${this.#socketPath} may be opened by its owner only; use that user or root`,
        error,
      );
    }
    return error;
  }
}

function tryJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
