import { describe, expect, it } from 'vitest';
import { Reloader } from './reloader.ts';

function observed() {
  const runs: PromiseWithResolvers<void>[] = [];
  const reloader = new Reloader(() => {
    const run = Promise.withResolvers<void>();
    runs.push(run);
    return run.promise;
  });
  return { reloader, runs };
}
const settled = () => new Promise<void>((resolve) => setImmediate(resolve));

describe('reloading', () => {
  it('happens one at a time, and once more however often it is asked for meanwhile', async () => {
    const { reloader, runs } = observed();
    for (let i = 0; i < 5; i += 1) reloader.request();
    expect(runs).toHaveLength(1);
    runs[0]?.resolve();
    await settled();
    expect(runs).toHaveLength(2);
    runs[1]?.resolve();
    await settled();
    expect(runs).toHaveLength(2);
    reloader.request();
    expect(runs).toHaveLength(3);
  });

  it('begins no more once it is closed, and the one that is under way is waited for', async () => {
    const { reloader, runs } = observed();
    reloader.request();
    reloader.request();
    let isClosed = false;
    const closing = reloader.close().then(() => {
      isClosed = true;
    });
    await settled();
    expect(isClosed).toBe(false);
    runs[0]?.resolve();
    await closing;
    reloader.request();
    await reloader.close();
    expect(runs).toHaveLength(1);
  });
});
