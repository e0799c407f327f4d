/**
 * Where a Node program's time goes, out of what `node --cpu-prof` writes (Chrome DevTools Protocol, `Profiler.Profile`).
 * @module
 */
import { z } from 'zod';

/** Times are in microseconds of the monotonic clock. */
export const cpuProfileSchema = z.object({
  nodes: z.array(
    z.object({
      id: z.int(),
      callFrame: z.object({ functionName: z.string(), url: z.string(), lineNumber: z.int() }),
    }),
  ),
  startTime: z.number(),
  samples: z.array(z.int()),
  timeDeltas: z.array(z.number()),
});
export type CpuProfile = z.output<typeof cpuProfileSchema>;

/** The process of a profile by the name that Node gives its file: `CPU.20260102.030405.PID.THREAD.001.cpuprofile`. */
export function pidOfProfile(fileName: string): number | undefined {
  const pid = /^CPU\.\d+\.\d+\.(\d+)\.\d+\.\d+\.cpuprofile$/.exec(fileName)?.[1];
  return pid === undefined ? undefined : Number(pid);
}

export interface SelfTime {
  readonly function: string;
  /** File and line; empty for what V8 does itself. */
  readonly where: string;
  /** Of the time in which the program did anything. */
  readonly percent: number;
}

export interface Window {
  readonly fromUs: number;
  readonly toUs: number;
}

/**
 * The `limit` functions with the most time of their own, over all threads (a profile each), within the window.
 *
 * @param root what is left out at the beginning of a file's name.
 */
export function topSelfTimes(
  profiles: readonly CpuProfile[],
  window: Window,
  limit: number,
  root: string,
): SelfTime[] {
  const spentUs = new Map<string, { function: string; where: string; us: number }>();
  let totalUs = 0;
  for (const { nodes, startTime, samples, timeDeltas } of profiles) {
    const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]));
    let atUs = startTime;
    samples.forEach((id, index) => {
      atUs += timeDeltas[index] ?? 0;
      // A sample stands for the time until the next one.
      const us = Math.max(0, timeDeltas[index + 1] ?? 0);
      const frame = frames.get(id);
      if (!frame || frame.functionName === '(idle)' || atUs < window.fromUs || atUs >= window.toUs) return;
      const entry = describe(frame, root);
      const key = `${entry.function} ${entry.where}`;
      spentUs.set(key, { ...entry, us: (spentUs.get(key)?.us ?? 0) + us });
      totalUs += us;
    });
  }
  return [...spentUs.values()]
    .sort((a, b) => b.us - a.us)
    .slice(0, limit)
    .map(({ us, function: name, where }) => ({
      function: name,
      where,
      percent: Math.round((1000 * us) / totalUs) / 10,
    }));
}

function describe(
  { functionName, url, lineNumber }: CpuProfile['nodes'][number]['callFrame'],
  root: string,
): { function: string; where: string } {
  const file = url.replace(/^file:\/\//, '').replace(`${root}/`, '');
  // Lines count from 0 here; what has no source has the line -1.
  return { function: functionName || '(anonymous)', where: file === '' ? '' : `${file}:${lineNumber + 1}` };
}
