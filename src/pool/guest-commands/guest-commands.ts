export interface ExecOptions {
  /** All of its environment; the agent's own when absent. */
  readonly env?: Readonly<Record<string, string>>;
  /** For its standard input; at most 1 MiB. */
  readonly input?: Uint8Array;
  /** A program that has not ended by then is killed. */
  readonly limitMs: number;
  /** Of each of its outputs; what goes beyond is dropped. */
  readonly outputLimitBytes: number;
  readonly signal?: AbortSignal | undefined;
}

/** How a program in a guest ended. */
export interface ExecOutcome {
  /** Its exit status; 128 and the signal's number when a signal ended it, as a shell has it. */
  readonly status: number;
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
  /** Not all of its output is here. */
  readonly truncated: boolean;
}

/**
 * What can be done in a running guest, by an agent that listens there. What it answers is not to be trusted: it is the
 * guest's.
 */
export interface GuestCommands {
  /** @throws `guest_agent_missing` when nothing answers in the guest. */
  ping(signal?: AbortSignal): Promise<void>;
  /**
   * Runs a program. No shell comes between: each argument arrives as it is.
   *
   * @throws `guest_command_failed` when there is no such program, `guest_command_timeout`, `guest_agent_missing`.
   */
  exec(argv: readonly string[], options: ExecOptions): Promise<ExecOutcome>;
  /** Writes a file of its own making, or over one that is there. @throws `guest_command_failed`, `guest_agent_missing`. */
  writeFile(path: string, content: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void>;
  /** @throws `guest_agent_missing` when it has not answered within a second, `guest_command_failed`. */
  setTime(nowMs: number): Promise<void>;
  /** Asks the guest to power off; resolves when it has heard that. */
  shutDown(signal?: AbortSignal): Promise<void>;
  close(): void;
}
