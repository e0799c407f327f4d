import { describe, expect, it } from 'vitest';
import { guestClockOption, timeStampCounterKhz } from './guest-clock.ts';

describe("the guest's clock", () => {
  it("runs at the host's nominal frequency, not at that of the moment", () => {
    expect(timeStampCounterKhz('model name\t: X @ 2.70GHz\ncpu MHz\t\t: 1200.5\n', '2600000\n')).toBe(
      2_600_000,
    );
    expect(timeStampCounterKhz('model name\t: X @ 2.70GHz\ncpu MHz\t\t: 1200.5\n', '')).toBe(2_700_000);
    expect(timeStampCounterKhz('model name\t: AMD EPYC\ncpu MHz\t\t: 2445.406\n', '')).toBe(2_445_406);
  });

  it('is left to the guest where the host does not say', async () => {
    expect(timeStampCounterKhz('', '')).toBeUndefined();
    expect(await guestClockOption()).toMatch(/^(tsc_early_khz=\d+)?$/);
  });
});
