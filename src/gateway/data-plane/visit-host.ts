import type { Clock } from '../../base/index.ts';
import type { Log } from '../../platform/telemetry/index.ts';
import type { Passage } from './access-log-line.ts';
import type { ClientStream } from './client.ts';
import type { Exchange, RouteSnapshot } from './data-plane.ts';
import type { Upstreams } from './upstreams.ts';
import type { VmUses } from './vm-uses.ts';
import type { Waking } from './waking.ts';

/** What a request needs of the plane on which it is served. */
export interface VisitHost {
  readonly clock: Clock;
  readonly log: Pick<Log, 'warn'>;
  readonly upstreams: Upstreams;
  readonly snapshot: RouteSnapshot;
  readonly vmUses: VmUses;
  readonly waking: Waking;
  nextTurn(): number;
  observe(exchange: Exchange, passage?: Passage): void;
  refuse(client: ClientStream, method: string, status: number, message: string): void;
}
