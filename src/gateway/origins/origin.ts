import type { SharedKey } from '../tag-key.ts';
import type { NewOrigin } from './schema.ts';

/** An origin as the configuration names it. */
export type ConfiguredOrigin = Omit<NewOrigin, 'offload'> & {
  readonly offload?: (NonNullable<NewOrigin['offload']> & { readonly tokenFile: string }) | undefined;
};

/** A provider's site that passes through this gateway. */
export interface Origin extends Readonly<NewOrigin> {
  /** What stands in the configuration is changed there. */
  readonly source: 'configuration' | 'command';
  /** True while a second token is accepted beside the first. */
  readonly isRotating: boolean;
  /** Signs its tags; absent for one that has no token. */
  readonly tagKey?: SharedKey | undefined;
}
