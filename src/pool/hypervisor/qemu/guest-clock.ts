import { readFile } from 'node:fs/promises';

/**
 * How fast the host's time stamp counter runs, in kHz. Under emulation it is also the guest's. `undefined` when the
 * host does not say.
 *
 * @param processors `/proc/cpuinfo`
 * @param baseFrequency `/sys/devices/system/cpu/cpu0/cpufreq/base_frequency`, in kHz; empty where there is none.
 */
export function timeStampCounterKhz(processors: string, baseFrequency: string): number | undefined {
  const nominal = Number(baseFrequency.trim());
  if (nominal > 0) return nominal;
  // The name tells the nominal frequency; `cpu MHz` that of this moment, which is the same where nothing scales it.
  const named = /^model name\s*:.*@\s*([\d.]+)\s*GHz/m.exec(processors)?.[1];
  const measured = /^cpu MHz\s*:\s*([\d.]+)/m.exec(processors)?.[1];
  const khz = Math.round(named === undefined ? Number(measured) * 1e3 : Number(named) * 1e6);
  return khz > 0 ? khz : undefined;
}

/**
 * The kernel's option that tells an emulated x86 guest the frequency of its time stamp counter. Without it guests on a busy
 * host hang before their first process (up to 8 of 11 boots seen; with it 3 of 442), and the last word on the console is
 * that the frequency could not be found: a microvm has only the PIT to measure it by. A start that hangs all the same runs
 * into its time limit and is tried again.
 */
export async function guestClockOption(): Promise<string> {
  const read = (path: string) => readFile(path, 'utf8').catch(() => '');
  const khz = timeStampCounterKhz(
    await read('/proc/cpuinfo'),
    await read('/sys/devices/system/cpu/cpu0/cpufreq/base_frequency'),
  );
  return khz === undefined ? '' : `tsc_early_khz=${khz}`;
}
