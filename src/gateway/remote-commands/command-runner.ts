import { parseArgs } from 'node:util';
import { type Clock, type CodedError, hasCode, messageOf } from '../../base/index.ts';
import type { AuditLog, Log } from '../../platform/telemetry/index.ts';
import { Allowance } from '../allowance.ts';
import { gatewayError } from '../errors.ts';
import type { OriginVms } from '../origin-vms.ts';
import { withoutHostPaths } from '../vm-api/host-paths.ts';
import type { Caller, Command, CommandAnswer, CommandOutcome } from './command.ts';
import { commandWords } from './command-words.ts';
import { LINE_LIMIT } from './line-editor.ts';

export interface CommandRunnerDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly audit: Pick<AuditLog, 'audited'>;
  readonly vms: OriginVms;
  readonly commands: readonly Command[];
  /** Resolves when users are served as the VMs are now. */
  readonly settled: () => Promise<void>;
}

/** Of one origin, by all ways together. */
const COMMANDS_A_MINUTE = 60;

/** Runs what origins write, whichever way it came. Nothing of it ever reaches a shell. */
export class CommandRunner {
  readonly #deps: CommandRunnerDeps;
  readonly #allowance: Allowance;

  constructor(deps: CommandRunnerDeps) {
    this.#deps = deps;
    this.#allowance = new Allowance(deps.clock, COMMANDS_A_MINUTE);
  }

  /** Never throws: whatever goes wrong is the outcome. @param signal aborts when nobody waits any more. */
  async run(line: string, caller: Caller, signal: AbortSignal): Promise<CommandOutcome> {
    try {
      if (!caller.mayStill()) {
        throw gatewayError('login_revoked', `what you logged in by is none of ${caller.origin} any more`);
      }
      if (!this.#allowance.take(caller.origin)) {
        throw gatewayError('too_many_commands', `expected at most ${COMMANDS_A_MINUTE} commands a minute`);
      }
      const { command, given, isJson } = this.#read(line);
      const answer = await this.#audited(command, given, caller, signal);
      const text = isJson ? plainJson(answer.value) : answer.lines.map(plain).join('\n');
      return {
        output: `${text}\n`,
        errors: answer.failure === undefined ? '' : `error: ${plain(answer.failure)}\n`,
        status: answer.failure === undefined ? 0 : 1,
      };
    } catch (error) {
      return this.#failure(error);
    }
  }

  #read(line: string): { command: Command; given: Record<string, unknown>; isJson: boolean } {
    if (line.length > LINE_LIMIT) {
      throw gatewayError('command_invalid', `expected at most ${LINE_LIMIT} characters`);
    }
    const words = commandWords(line);
    const command = this.#deps.commands.find(({ words: own }) => `${words.join(' ')} `.startsWith(`${own} `));
    if (!command) {
      const start = words.slice(0, 2).join(' ').slice(0, 60);
      throw gatewayError('command_invalid', `there is no command "${start}"; "help" lists them`);
    }
    const rest = words.slice(command.words.split(' ').length);
    const { values, positionals } = parseWords(rest, command);
    const { json: isJson = false, ...options } = values;
    const [surplus] = positionals.slice(command.positional.length);
    if (surplus !== undefined) throw wrong(command, `"${surplus.slice(0, 60)}" is too much`);
    const named = command.positional.map((name, at) => [name, positionals[at]]);
    const result = command.arguments.safeParse({ ...options, ...Object.fromEntries(named) });
    if (result.success) return { command, given: { ...result.data }, isJson };
    const [issue] = result.error.issues;
    const name = String(issue?.path[0] ?? '');
    const shown = command.options.some((option) => option === name) ? `--${name}` : `<${name}>`;
    throw wrong(command, `${shown}: ${(issue?.message ?? '').replace(/^Invalid input: /, '')}`);
  }

  async #audited(
    command: Command,
    given: Record<string, unknown>,
    { origin, address, way }: Caller,
    signal: AbortSignal,
  ): Promise<CommandAnswer> {
    const { audit, vms, settled } = this.#deps;
    const run = async () => command.run(given, { vms, origin, signal });
    if (!command.changes) return run();
    // Whoever is told that it was done finds it so with the next request.
    const runAndSettle = async () => {
      const answer = await run();
      await settled();
      return answer;
    };
    const details = { from: address, way };
    return audit.audited(
      { who: `origin:${origin}`, what: command.words, object: String(given['vm']), details },
      runAndSettle,
    );
  }

  #failure(error: unknown): CommandOutcome {
    const message = plain(withoutHostPaths({ message: messageOf(error) }).message);
    if (hasCode(error) && error.status < 500) {
      const status = error.code === 'command_invalid' ? 2 : 1;
      return { output: '', errors: `error: ${error.code}: ${message}\n`, status };
    }
    this.#deps.log.error({ err: error }, 'a remote command failed');
    const said = hasCode(error) ? `${error.code}: ${message}` : 'internal';
    return { output: '', errors: `error: ${said}\n`, status: 1 };
  }
}

function parseWords(args: string[], command: Command) {
  const options = Object.fromEntries(command.options.map((name) => [name, { type: 'string' as const }]));
  try {
    return parseArgs({ args, options: { ...options, json: { type: 'boolean' } }, allowPositionals: true });
  } catch (error) {
    throw wrong(command, messageOf(error));
  }
}

const wrong = ({ words, usage }: Command, what: string): CodedError =>
  gatewayError('command_invalid', `${plain(what)}; expected: ${`${words} ${usage}`.trim()}`);

/** JSON itself escapes control characters below U+0020 only; a terminal minds others too. */
const plainJson = (value: object): string =>
  JSON.stringify(value).replace(
    /[\u007F-\u009F\u202A-\u202E\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );

/** What images, applications and their servers say may not move the cursor of whoever reads it. */
const plain = (text: string): string =>
  text.replace(/[^\n\u0020-\u007E\u00A0-\uFFFF]|[\u202A-\u202E\u2066-\u2069]/g, ' ');
