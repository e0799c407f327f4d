import { resolve } from 'node:path';
import { systemClock, systemRandom } from '../base/index.ts';
import { dataFolder, examine, type Finding } from '../edge/index.ts';
import { ProgressLine, print, printJson } from './output.ts';

const MARKS = { good: '✓', notable: '!', bad: '✗' } as const;

/** `orilla doctor`: exit status 1 when something is bad. */
export async function doctor(options: { data: string; portOffset: number; json?: boolean }): Promise<void> {
  const findings: Finding[] = [];
  const progress = new ProgressLine();
  const deps = { clock: systemClock, random: systemRandom };
  const { signal } = new AbortController();
  if (!options.json) progress.show('looking at this machine');
  for await (const finding of examine(deps, dataFolder(resolve(options.data)), options.portOffset, signal)) {
    findings.push(finding);
    if (options.json) continue;
    progress.end();
    print(`${MARKS[finding.state]} ${finding.subject.padEnd(14)} ${finding.finding}`);
    if (finding.advice !== undefined) print(`${' '.repeat(17)}→ ${finding.advice}`);
  }
  if (options.json) printJson(findings);
  if (findings.some(({ state }) => state === 'bad')) process.exitCode = 1;
}
