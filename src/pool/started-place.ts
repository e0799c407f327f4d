import type { GuestPlace } from './applications/application-installer.ts';
import type { MachineOrigin } from './hypervisor/hypervisor.ts';

/** A guest that answers for the first time since its machine was started or taken over. */
export interface StartedPlace extends GuestPlace {
  /** Absent when it was taken over. */
  readonly origin?: MachineOrigin | undefined;
}
