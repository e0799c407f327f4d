import type { Clock } from '../../base/index.ts';
import type { LoadRequest, WantedApplication } from '../schema.ts';
import { decideApplication, type NamedVm } from './decision.ts';
import { deployApplication, type EdgeApi, listVms, loadVm } from './edge-api.ts';

/** What set off that the origin's server is asked for. */
export interface Occasion {
  /** The VM that the gateway named [gateway G12]. */
  readonly assigned: string | undefined;
  /** Whether the application was asked for before, and has not been seen to run since. */
  readonly isBegun: boolean;
  /** How long the gateway may hold its answer until it is ready. */
  readonly waitS: number;
}

/** What is to run at the edge. */
export interface WantedServer {
  /** A VM of the origin's own, where none of its VMs runs [gateway G4]. */
  readonly vm?: LoadRequest['virtualmachine'];
  /** An application for a VM that the gateway names [gateway G13]. */
  readonly application?: WantedApplication;
}

/**
 * The document's two ways: the first has a VM loaded, the second puts the application into the VM that the gateway named.
 * Which of them a request may set off; none when there is nothing to ask for.
 */
export function wayFor(
  { vm, application }: WantedServer,
  assigned: string | undefined,
): 'vm' | 'application' | undefined {
  if (application && assigned !== undefined) return 'application';
  return vm && 'vm';
}

/**
 * The origin's server on a gateway, asked for as far as it is not there.
 *
 * @throws Error with the gateway's own words when it refuses.
 */
export async function obtainServer(
  clock: Clock,
  api: EdgeApi,
  { vm, application }: WantedServer,
  { assigned, isBegun, waitS }: Occasion,
): Promise<NamedVm | undefined> {
  if (!application || assigned === undefined) return vm && loadVm(clock, api, vm, waitS);
  const decision = decideApplication(assigned, await listVms(clock, api), application.digest, isBegun);
  switch (decision.kind) {
    case 'absent':
      throw new Error(`it names ${assigned.slice(0, 100)}, which is no VM of ours`);
    case 'failed':
      throw new Error(`the application does not run in ${decision.vm.host}, though it was put there`);
    case 'runs':
      return decision.vm;
    case 'wait':
      return { ...decision.vm, isReady: false };
    case 'deploy': {
      const runs = await deployApplication(clock, api, decision.vm.name, application, waitS);
      return { ...decision.vm, isReady: runs && decision.vm.isReady };
    }
  }
}
