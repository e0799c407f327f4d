import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { missingTools } from './tools.ts';

/**
 * Runs once before the integration tests. Gives them one folder for what is slow to make and the same each time
 * (Debian packages, guest images), kept between runs: `ORILLA_TEST_CACHE`.
 */
export function setup(): void {
  process.env['ORILLA_TEST_CACHE'] ??= join(import.meta.dirname, '..', '..', '.tools', 'test-cache');
  mkdirSync(process.env['ORILLA_TEST_CACHE'], { recursive: true });

  for (const missing of missingTools(['qemu-system-x86_64', 'chromium', 'apt-get'])) {
    process.stderr.write(`\n!!! ${missing}: the tests that need it are SKIPPED (with CI=true they fail)\n`);
  }
}
