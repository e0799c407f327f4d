/**
 * Resolves when `progress` has stayed the same for so many turns of the event loop. For what can only be seen by nothing
 * happening: a test may use it to look early, never to decide.
 */
export async function untilQuiet(progress: () => unknown, turns: number): Promise<void> {
  let before = progress();
  for (let quiet = 0; quiet < turns; quiet += 1) {
    await new Promise((resolve) => setImmediate(resolve));
    const now = progress();
    if (now !== before) quiet = 0;
    before = now;
  }
}
