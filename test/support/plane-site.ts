import { type Clock, systemClock, systemRandom } from '../../src/base/index.ts';
import type { DataPlane, Exchange, VmUpstream } from '../../src/gateway/data-plane/data-plane.ts';
import type { DataPlaneDeps } from '../../src/gateway/data-plane/plane.ts';
import type { Listen } from '../../src/platform/sockets/index.ts';
import { type Log, silentLog } from '../../src/platform/telemetry/index.ts';

/** Starts the data plane that a suite is run against. */
export type StartPlane = (deps: DataPlaneDeps & { readonly log: Log }, listen: Listen) => Promise<DataPlane>;

export interface PlaneSite extends AsyncDisposable {
  readonly plane: DataPlane;
  readonly port: number;
  /** Every request that is over. */
  readonly exchanges: readonly Exchange[];
  /** Puts this origin, and these VMs, behind the site. */
  serveFrom(originPort: number, vms?: readonly VmUpstream[]): void;
  /** Resolves when so many requests are over. */
  untilExchanges(count: number): Promise<void>;
}

/** A data plane for the site `photos.example`, tagged `Bng-API-Server: 192.0.2.1`. */
export async function startPlaneSite(
  start: StartPlane,
  originPort: number,
  { clock = systemClock, showServedBy = false }: { clock?: Clock; showServedBy?: boolean } = {},
): Promise<PlaneSite> {
  const exchanges: Exchange[] = [];
  let waiting: (() => void)[] = [];
  const observe = (exchange: Exchange) => {
    exchanges.push(exchange);
    const woken = waiting;
    waiting = [];
    for (const wake of woken) wake();
  };
  const plane = await start(
    { clock, random: systemRandom, log: silentLog, observe },
    { host: '127.0.0.1', port: 0 },
  );
  const serveFrom = (port: number, vms: readonly VmUpstream[] = []) =>
    plane.apply({
      routes: new Map([
        ['photos.example', { origin: 'photos', upstream: { host: '127.0.0.1', port, isTls: false }, vms }],
      ]),
      tag: { name: 'Bng-API-Server', value: '192.0.2.1' },
      showServedBy,
    });
  serveFrom(originPort);
  return {
    plane,
    port: plane.port,
    exchanges,
    serveFrom,
    async untilExchanges(count) {
      while (exchanges.length < count) await new Promise<void>((resolve) => waiting.push(resolve));
    },
    [Symbol.asyncDispose]: () => plane.close(),
  };
}
