import { hasCode } from '../../base/index.ts';
import { runCommand } from '../../platform/process/index.ts';
import { poolError } from '../errors.ts';

const TIMEOUT_MS = 10_000;
const OUTPUT_LIMIT_BYTES = 256 * 1024;

/**
 * Runs `qemu-img` and gives what it says. A file that was made to hurt it ends it, and nothing else: it has 512 MiB of
 * memory, 5 s of processor time, and may write no file longer than `fileLimitBytes`.
 *
 * @throws `hypervisor_missing` where there is none, and as `runCommand`.
 */
export async function runQemuImg(
  args: readonly string[],
  fileLimitBytes: number,
  signal: AbortSignal,
): Promise<string> {
  const limits = ['--as=536870912', '--cpu=5', `--fsize=${fileLimitBytes}`, '--core=0', '--nofile=64'];
  const env = { PATH: process.env['PATH'], LC_ALL: 'C' };
  const options = { env, signal, timeoutMs: TIMEOUT_MS, maxOutputBytes: OUTPUT_LIMIT_BYTES };
  try {
    // Asked by itself, so that a program that is missing can be told from a disk that it refuses.
    await runCommand('qemu-img', ['--version'], options);
    return (await runCommand('prlimit', [...limits, '--', 'qemu-img', ...args], options)).stdout;
  } catch (error) {
    signal.throwIfAborted();
    if (!hasCode(error, 'command_missing')) throw error;
    throw poolError(
      'hypervisor_missing',
      'an image with disks needs qemu-img (Debian package qemu-utils) and prlimit (util-linux) on the gateway',
      error,
    );
  }
}
