import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'vitest';

/**
 * A disk of 1 MiB for a test that fills it. Where none may be mounted (only root may) the test is skipped.
 *
 * @param options of tmpfs(5): its size, or how many files it takes.
 */
export function smallDisk(context: TestContext, options = 'size=1m'): string {
  const path = mkdtempSync(join(tmpdir(), 'orilla-small-disk-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'orilla-test', path], { stdio: 'ignore' });
  } catch {
    rmdirSync(path);
    context.skip('no small disk: this user may not mount one');
  }
  context.onTestFinished(() => {
    execFileSync('umount', ['--lazy', path]);
    rmdirSync(path);
  });
  return path;
}
