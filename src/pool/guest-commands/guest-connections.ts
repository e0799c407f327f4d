import type { Clock, Closable, Random } from '../../base/index.ts';
import { poolError } from '../errors.ts';
import type { Machine } from '../hypervisor/hypervisor.ts';
import { AgentCommands } from './agent-commands.ts';
import type { ExecOptions, ExecOutcome, GuestCommands } from './guest-commands.ts';

/** In all guests together: the outputs of each may take 43 MiB here. */
const PROGRAMS_LIMIT = 16;

/** One connection to the agent in each machine's guest, for all who have something to do there. */
export class GuestConnections implements Closable {
  readonly #deps: { readonly clock: Clock; readonly random: Random };
  readonly #open = new Map<string, GuestCommands>();
  #programs = 0;

  constructor(deps: { readonly clock: Clock; readonly random: Random }) {
    this.#deps = deps;
  }

  /** @throws `guest_agent_missing` for a machine that has no port for one. */
  to(machine: Machine): GuestCommands {
    const { id, commandSocket, exited } = machine;
    const open = this.#open.get(id);
    if (open) return open;
    if (commandSocket === undefined) {
      throw poolError('guest_agent_missing', 'this machine has no way to an agent in its guest');
    }
    const commands = new AgentCommands(this.#deps, commandSocket);
    this.#open.set(id, commands);
    void exited.then(() => {
      commands.close();
      this.#open.delete(id);
    });
    return commands;
  }

  /**
   * Runs somebody's program, of whom there may be many.
   *
   * @throws `guest_busy` when as many run as are allowed at once, and what `GuestCommands.exec` throws.
   */
  async exec(machine: Machine, argv: readonly string[], options: ExecOptions): Promise<ExecOutcome> {
    if (this.#programs >= PROGRAMS_LIMIT) {
      throw poolError(
        'guest_busy',
        `${PROGRAMS_LIMIT} programs are run in guests for others just now; ask again later`,
      );
    }
    this.#programs += 1;
    try {
      return await this.to(machine).exec(argv, options);
    } finally {
      this.#programs -= 1;
    }
  }

  async close(): Promise<void> {
    for (const commands of this.#open.values()) commands.close();
    this.#open.clear();
  }
}
