import type { z } from 'zod';
import type { OriginVms } from '../origin-vms.ts';

/** Who gives a command, and by which way it came. */
export interface Caller {
  readonly origin: string;
  /** An IP address. */
  readonly address: string;
  readonly way: 'ssh' | 'telnet';
  /** Whether what it logged in by still holds: keys and tokens are changed while sessions last. */
  readonly mayStill: () => boolean;
}

/** What a command says, and how a program that runs it learns whether it was done. */
export interface CommandOutcome {
  readonly output: string;
  readonly errors: string;
  /** 0 done, 1 refused or failed, 2 written wrongly. */
  readonly status: 0 | 1 | 2;
}

/** What a command that was done has to tell, for people and for programs. */
export interface CommandAnswer {
  readonly lines: readonly string[];
  readonly value: object;
  /** Why it was not done after all. */
  readonly failure?: string | undefined;
}

export interface CommandContext {
  readonly vms: OriginVms;
  readonly origin: string;
  /** Aborts when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
}

/** One command of the language. `arguments` says what may stand behind its words: by name, checked before it runs. */
export interface Command<Arguments = object> {
  readonly words: string;
  /** How the arguments are written. */
  readonly usage: string;
  readonly summary: string;
  /** In this order. */
  readonly positional: readonly (keyof Arguments & string)[];
  /** Written `--name value`. */
  readonly options: readonly (keyof Arguments & string)[];
  readonly arguments: z.ZodType<Arguments>;
  /** Whether it is written into the audit log. */
  readonly changes: boolean;
  run(given: Arguments, context: CommandContext): Promise<CommandAnswer> | CommandAnswer;
}
