import type { Clock, Random } from '../base/index.ts';
import type { Store } from '../platform/store/index.ts';
import type { Log, Registry } from '../platform/telemetry/index.ts';
import type { VmDisks } from './disks/vm-disks.ts';
import type { Hypervisor } from './hypervisor/hypervisor.ts';
import type { ImageStore } from './images/image-store.ts';
import type { HttpProbe } from './readiness.ts';
import type { PoolTables } from './tables.ts';

/** What a pool works with. */
export interface PoolDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly registry: Registry;
  readonly store: Store<PoolTables>;
  readonly images: ImageStore;
  readonly disks: VmDisks;
  readonly hypervisor: Hypervisor;
  readonly probe?: HttpProbe;
}
