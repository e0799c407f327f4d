import { poolError } from '../errors.ts';
import type { Machine } from '../hypervisor/hypervisor.ts';
import type { ExecOptions, ExecOutcome, GuestCommands } from './guest-commands.ts';

/** In all guests together: the outputs of each may take 43 MiB here. */
const PROGRAMS_LIMIT = 16;

/** @throws `guest_agent_missing` for a machine that has no way to one. */
export function commandsOf({ commands }: Machine): GuestCommands {
  if (commands) return commands;
  throw poolError('guest_agent_missing', 'this machine has no way to an agent in its guest');
}

/** Somebody's programs in guests, of whom there may be many. */
export class GuestPrograms {
  #running = 0;

  /**
   * @throws `guest_busy` when as many run as are allowed at once, and what `commandsOf` and `GuestCommands.exec` throw.
   */
  async exec(machine: Machine, argv: readonly string[], options: ExecOptions): Promise<ExecOutcome> {
    if (this.#running >= PROGRAMS_LIMIT) {
      throw poolError(
        'guest_busy',
        `${PROGRAMS_LIMIT} programs are run in guests for others just now; ask again later`,
      );
    }
    this.#running += 1;
    try {
      return await commandsOf(machine).exec(argv, options);
    } finally {
      this.#running -= 1;
    }
  }
}
