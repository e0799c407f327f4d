import { systemClock, systemRandom } from '../../src/base/index.ts';
import { MasterKey } from '../../src/platform/secrets/index.ts';
import { silentLog } from '../../src/platform/telemetry/index.ts';

/** What a hypervisor on QEMU needs in a test: the accelerator that is everywhere, and a key that is no secret. */
export const QEMU_DEPS = {
  clock: systemClock,
  random: systemRandom,
  log: silentLog,
  masterKey: new MasterKey(Buffer.alloc(32, 7)),
  chooseAccelerator: async () => 'tcg' as const,
};
