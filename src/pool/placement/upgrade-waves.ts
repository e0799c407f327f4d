export interface WaveOptions {
  /** How many VMs may be away at a time. */
  readonly maxUnavailable: number;
  /** How many of a wave may fail before the VMs of later waves are left as they are. */
  readonly maxFailed: number;
}

/**
 * In which waves the VMs of an image are upgraded all at once, and yet not all away at once [desktop D17]. The first wave is a
 * single VM: an image that does not start costs no more than that.
 */
export function upgradeWaves<Vm>(vms: readonly Vm[], { maxUnavailable }: WaveOptions): Vm[][] {
  const waves = vms.length === 0 ? [] : [vms.slice(0, 1)];
  for (let from = 1; from < vms.length; from += maxUnavailable) {
    waves.push(vms.slice(from, from + maxUnavailable));
  }
  return waves;
}

/** Whether the next wave may begin, when so many of the `wave` failed. Of the first wave none may. */
export const mayGoOn = (wave: number, failed: number, { maxFailed }: WaveOptions): boolean =>
  failed <= (wave === 0 ? 0 : maxFailed);
