import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { cpus, release } from 'node:os';
import { runCommand } from '../../../platform/process/index.ts';
import type { ImageManifest } from '../../schema.ts';

export const hostArchitecture = (): ImageManifest['architecture'] =>
  process.arch === 'arm64' ? 'aarch64' : 'x86_64';

/** Changes with all on which a machine's behaviour depends: the host's kernel, QEMU's version, the processor. */
export async function hostKey(program: string): Promise<string> {
  const version = await runCommand(program, ['--version'], { timeoutMs: 10_000 }).then(
    (output) => output.stdout,
    () => 'no QEMU',
  );
  const processorInformation = await readFile('/proc/cpuinfo', 'utf8').catch(() => '');
  const flags = /^(?:flags|Features)\s*:(.*)$/m.exec(processorInformation)?.[1] ?? '';
  return createHash('sha256')
    .update([release(), version, cpus()[0]?.model ?? '', flags].join('\n'))
    .digest('hex');
}
