import type { Clock } from '../base/index.ts';
import type { AuditLog } from '../platform/telemetry/index.ts';
import { Allowance } from './allowance.ts';
import { clientNetwork } from './data-plane/limits-client-network.ts';

/** Somebody who was not let in. */
export interface RefusedLogin {
  readonly way: 'api' | 'ssh' | 'telnet';
  /** An IP address. */
  readonly address: string;
  /** Who it claimed to be, where it did. */
  readonly name?: string;
  readonly reason: string;
}

/** Whoever tries in a loop must not push out of the audit log what others have done. */
const OF_ONE_CLIENT_A_MINUTE = 10;
const OF_ALL_A_MINUTE = 100;

/** Writes into the audit log who was not let in; of those who keep trying, some. */
export class RefusedLogins {
  readonly #audit: Pick<AuditLog, 'record'>;
  readonly #ofOne: Allowance;
  readonly #ofAll: Allowance;

  constructor(clock: Clock, audit: Pick<AuditLog, 'record'>) {
    this.#audit = audit;
    this.#ofOne = new Allowance(clock, OF_ONE_CLIENT_A_MINUTE);
    this.#ofAll = new Allowance(clock, OF_ALL_A_MINUTE);
  }

  record({ way, address, name, reason }: RefusedLogin): void {
    if (!this.#ofOne.take(clientNetwork(address)) || !this.#ofAll.take('')) return;
    const who = name === undefined ? 'unknown' : `origin:${name.slice(0, 63)}`;
    void this.#audit.record({ who, what: 'login', object: way, details: { from: address } }, reason);
  }
}
