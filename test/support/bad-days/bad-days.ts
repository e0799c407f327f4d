import { systemClock } from '../../../src/base/index.ts';
import type { GuardedOrilla } from './guarded-orilla.ts';
import { orphans } from './orphans.ts';
import type { TriedVm } from './tried-vm.ts';
import type { Visitors } from './visitors.ts';

/** Guests that boot at the same time, under emulation, on a host with other things to do. */
const REST_LIMIT_MS = 180_000;
/** When all VMs are as they are to be, nothing is left of what was after this time. */
const ORDER_LIMIT_MS = 60_000;
const LOOK_INTERVAL_MS = 100;
/** How soon after an operation began something is killed, at the latest. */
const LATEST_BLOW_MS = 1500;

type Operation =
  | 'change'
  | 'load'
  | 'resume'
  | 'revert'
  | 'rollBack'
  | 'snapshot'
  | 'stop'
  | 'suspend'
  | 'write';

/** What may be asked of a VM, and how often in comparison to the others. */
const OPERATIONS: readonly (readonly [Operation, number])[] = [
  ['load', 4],
  ['write', 5],
  ['change', 3],
  ['rollBack', 2],
  ['suspend', 4],
  ['resume', 4],
  ['snapshot', 2],
  ['revert', 2],
  ['stop', 1],
];
const BLOWS = ['control', 'machine', 'worker', 'control and machine', 'all'] as const;

export interface BadDaysParts {
  readonly orilla: GuardedOrilla;
  readonly vms: readonly TriedVm[];
  readonly visitors: Visitors;
  /** From 0 to below 1. */
  readonly random: () => number;
}

/** Operations on VMs, one after the other or two at once, while processes of Orilla are killed; and what must be so after. */
export class BadDays {
  readonly #parts: BadDaysParts;
  /** What was done, to be read when something is wrong. */
  readonly history: string[] = [];

  constructor(parts: BadDaysParts) {
    this.#parts = parts;
  }

  get faults(): readonly string[] {
    const { vms, visitors } = this.#parts;
    return [...vms.flatMap(({ faults }) => faults), ...visitors.faults];
  }

  /** One or two operations, of different VMs, and now and then a blow. Resolves with how many operations there were. */
  async step(): Promise<number> {
    const { vms, random } = this.#parts;
    const first = Math.floor(random() * vms.length);
    const tried = [vms[first]!];
    if (random() < 0.5) tried.push(vms[(first + 1) % vms.length]!);
    const operations = tried.map((vm) => this.#operate(vm));
    const blow = random() < 0.4 ? this.#strike() : undefined;
    await Promise.all([...operations, blow]);
    this.#parts.orilla.host.look();
    return operations.length;
  }

  /** Waits until each VM is as it was asked to be, and looks for all that was acknowledged. */
  async rest(): Promise<void> {
    const { orilla, vms } = this.#parts;
    await this.#until('every VM is as it is to be', REST_LIMIT_MS, async () => {
      const { vms: found } = await orilla.current.status();
      for (const vm of vms.filter(({ state }) => state === 'unsure')) {
        if (found.some(({ name, phase }) => name === vm.name && phase === 'suspended')) await vm.resume();
        else if (found.some(({ name, phase, next }) => name === vm.name && phase === 'ready' && !next))
          vm.state = 'ready';
      }
      const unsettled = vms.filter((vm) => !vm.isSettled(found.find(({ name }) => name === vm.name)));
      return unsettled.map(({ name, state }) => {
        const { phase, reason, next, suspendedBy } = found.find((vm) => vm.name === name) ?? {};
        return `${name} is to be ${state}: ${JSON.stringify({ phase, reason, next, suspendedBy })}`;
      });
    });
    await Promise.all(vms.map((vm) => vm.check()));
  }

  /** Waits until nothing is left of what nobody has any more. @param workers how many there are to be. */
  async untilOrder(workers: number): Promise<void> {
    const { orilla } = this.#parts;
    await this.#until('nothing is left that belongs to nobody', ORDER_LIMIT_MS, async () => {
      const { vms } = await orilla.current.status();
      return orphans(orilla.host, vms, workers);
    });
  }

  #operate(vm: TriedVm): Promise<void> {
    const { random } = this.#parts;
    const operation = vm.state === 'absent' ? 'load' : this.#choose();
    const choice = random();
    this.history.push(`${operation} ${vm.name} (${vm.state})`);
    return operation === 'revert' ? vm.revert(choice) : vm[operation]();
  }

  #choose(): Operation {
    const total = OPERATIONS.reduce((sum, [, weight]) => sum + weight, 0);
    let at = this.#parts.random() * total;
    for (const [operation, weight] of OPERATIONS) {
      at -= weight;
      if (at < 0) return operation;
    }
    return 'load';
  }

  async #strike(): Promise<void> {
    const { orilla, random } = this.#parts;
    const blow = BLOWS[Math.floor(random() * BLOWS.length)]!;
    const [delay, choice] = [random() * LATEST_BLOW_MS, random()];
    this.history.push(`kill ${blow} after ${Math.round(delay)} ms`);
    await systemClock.sleep(delay);
    const { host } = orilla;
    const anyOf = (pids: readonly number[]) => pids.slice(Math.floor(choice * pids.length)).slice(0, 1);
    const machines = host.look().map(({ pid }) => pid);
    switch (blow) {
      case 'machine':
        return this.#kill(anyOf(machines));
      case 'worker':
        return this.#kill(anyOf(host.workers()));
      case 'control':
        return this.#killControl(() => []);
      case 'control and machine':
        return this.#killControl(() => anyOf(host.look().map(({ pid }) => pid)));
      case 'all':
        return this.#killControl(() => [...host.look().map(({ pid }) => pid), ...host.workers()]);
    }
  }

  async #killControl(also: () => readonly number[]): Promise<void> {
    const { orilla, visitors } = this.#parts;
    visitors.disturbedMs = Number.POSITIVE_INFINITY;
    await orilla.killControl(() => this.#kill(also()));
    visitors.disturbedMs = systemClock.monotonicMs();
  }

  #kill(pids: readonly number[]): void {
    const { orilla, vms, visitors } = this.#parts;
    const machines = orilla.host.look();
    for (const pid of pids) {
      const id = machines.find((machine) => machine.pid === pid)?.id;
      if (id === undefined) visitors.disturbedMs = Math.max(visitors.disturbedMs, systemClock.monotonicMs());
      vms.find(({ name }) => id?.startsWith(`${name}-`))?.machineKilled();
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended by itself.
      }
    }
  }

  /** @param look what is not so yet. */
  async #until(what: string, limitMs: number, look: () => Promise<readonly string[]>): Promise<void> {
    const deadlineMs = systemClock.monotonicMs() + limitMs;
    for (;;) {
      const missing = await look();
      if (missing.length === 0) return;
      if (systemClock.monotonicMs() > deadlineMs) {
        throw new Error(`not within ${limitMs / 1000} s: ${what}\n${missing.join('\n')}`);
      }
      await systemClock.sleep(LOOK_INTERVAL_MS);
    }
  }
}
