import type { Clock, Random } from '../base/index.ts';
import type { Store } from '../platform/store/index.ts';
import type { Log, Registry } from '../platform/telemetry/index.ts';
import type { ApplicationStore } from './applications/application-store.ts';
import type { VmDisks } from './disks/vm-disks.ts';
import type { Hypervisor } from './hypervisor/hypervisor.ts';
import type { ImageStore } from './images/image-store.ts';
import type { HttpProbe } from './readiness.ts';
import type { PoolTables } from './tables.ts';
import type { VmQuotas } from './vm-requests.ts';

/** What a pool works with. */
export interface PoolDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly registry: Registry;
  readonly store: Store<PoolTables>;
  readonly images: ImageStore;
  readonly disks: VmDisks;
  readonly applications: ApplicationStore;
  readonly hypervisor: Hypervisor;
  readonly probe?: HttpProbe;
}

export interface PoolOptions extends VmQuotas {
  /** The folder below which an origin may name a directory as its image. */
  readonly imageDirectoryRoot: string;
  /** Servers from which an owner's images may be fetched: `host` or `host:port`. */
  readonly imageHosts: (owner: string) => readonly string[];
  /** The owner's own server, `host:port`, when it has one: images may come from it also where it has a local address. */
  readonly upstreamOf?: (owner: string) => string | undefined;
  /** What the images that were fetched for VMs may take on the disk together; no limit when absent. */
  readonly imageLimitBytes?: number;
  /** Where is kept what VMs were: a folder for each, by its name. */
  readonly savedFolder: string;
  /** How long a guest may take from its start to its first answer. */
  readonly readyTimeoutMs: number;
}
