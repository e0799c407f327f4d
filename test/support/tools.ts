import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { describe, test } from 'vitest';

/** Programs that the integration tests run, and how each may be called. */
const TOOLS = {
  'qemu-system-x86_64': { programs: ['qemu-system-x86_64'], debianPackage: 'qemu-system-x86' },
  'qemu-img': { programs: ['qemu-img'], debianPackage: 'qemu-utils' },
  cp: { programs: ['cp'], debianPackage: 'coreutils' },
  chromium: { programs: ['chromium', 'chromium-browser', 'google-chrome'], debianPackage: 'chromium' },
  ip: { programs: ['ip'], debianPackage: 'iproute2' },
  nft: { programs: ['nft'], debianPackage: 'nftables' },
  ssh: { programs: ['ssh'], debianPackage: 'openssh-client' },
  'apt-get': { programs: ['apt-get'], debianPackage: 'apt' },
} as const;

export type Tool = keyof typeof TOOLS;

/** Where a missing tool must not pass unseen: the machine that decides whether a change is good. */
export const inCi = process.env['CI'] === 'true';

/** The path of a tool on this machine; `undefined` when it has none. */
export function toolPath(tool: Tool): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  return TOOLS[tool].programs
    .flatMap((program) => folders.map((folder) => join(folder, program)))
    .find((path) => existsSync(path));
}

/** The tools that this machine lacks, as sentences: "chromium is missing (Debian package chromium)". */
export function missingTools(tools: readonly Tool[]): string[] {
  return tools
    .filter((tool) => toolPath(tool) === undefined)
    .map((tool) => `${tool} is missing (Debian package ${TOOLS[tool].debianPackage})`);
}

/**
 * `describe` for tests that run a real program. Where it is missing they are skipped and the name says why; with
 * `CI=true` they fail.
 *
 * @example
 * needs('qemu-system-x86_64')('a guest', () => {
 *   test('answers its first request [gateway G7]', async () => { … });
 * });
 */
export function needs(...tools: readonly Tool[]): (name: string, body: () => void) => void {
  const missing = missingTools(tools).join(', ');
  return (name, body) => {
    if (missing === '') {
      describe(name, body);
    } else if (inCi) {
      test(`${name}: ${missing}`, () => {
        throw new Error(`${missing}, and with CI=true no tool may be`);
      });
    } else {
      describe.skip(`${name} (skipped: ${missing})`, body);
    }
  };
}
