import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, expect, it } from 'vitest';
import { ask } from './ask.ts';
import { type StartPlane, startPlaneSite } from './plane-site.ts';
import { RecordingOrigin } from './recording-origin.ts';

const WANTED = 10_000;
/** File descriptors that everything else needs. */
const SPARE = 1000;
/** Of memory in this process, kernel not counted. */
const LIMIT_BYTES_EACH = 32 * 1024;

/** What a data plane does with very many connections that nobody uses. */
export function describeManyConnections(name: string, start: StartPlane): void {
  describe(`${name} and ${WANTED} idle connections`, () => {
    const count = Math.min(WANTED, descriptorLimit() - SPARE);
    // `ulimit -n` says how many files a process may have open.
    it.skipIf(count < WANTED)(
      'serves beside them, in bounded memory, and closes at once',
      { timeout: 120_000 },
      async () => {
        await using origin = await RecordingOrigin.start();
        await using site = await startPlaneSite(start, origin.port);
        const before = process.memoryUsage.rss();
        using clients = await openIdle(site.port, count);
        expect(process.memoryUsage.rss() - before).toBeLessThan(count * LIMIT_BYTES_EACH);
        const answer = await ask(site.port, 'photos.example', '/case');
        expect(answer).toMatchObject({ status: 200, body: 'GET /case\n' });
        await site.plane.close();
        await clients.haveEnded;
      },
    );
  });
}

interface IdleClients extends Disposable {
  /** The process is gone: its first connection that is closed ends it. */
  readonly haveEnded: Promise<void>;
}

async function openIdle(port: number, count: number): Promise<IdleClients> {
  const child = spawn(
    process.execPath,
    [join(import.meta.dirname, 'idle-clients.ts'), String(port), String(count)],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  const haveEnded = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  await new Promise<void>((resolve, reject) => {
    createInterface(child.stdout).once('line', () => resolve());
    void haveEnded.then(() => reject(new Error(`${count} connections could not be opened`)));
  });
  return { haveEnded, [Symbol.dispose]: () => child.kill('SIGKILL') };
}

/** Of this process; where the system does not say, enough. */
function descriptorLimit(): number {
  try {
    const line = /^Max open files\s+(\d+|unlimited)/m.exec(readFileSync('/proc/self/limits', 'utf8'));
    return line?.[1] === 'unlimited' ? Number.POSITIVE_INFINITY : Number(line?.[1]);
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}
