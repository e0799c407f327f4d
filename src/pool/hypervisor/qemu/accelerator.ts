/**
 * Which accelerator works here. `/dev/kvm` may be there, answer, and even run a boot sector, and still hang on a real
 * kernel; so the verdict comes from booting the image's own kernel to its first words, once under TCG and once under
 * KVM. KVM is chosen when it gets there, and sooner than TCG.
 *
 * A kernel that has no initial RAM file system says so on the console and reboots, which `-no-reboot` turns into an end:
 * that sentence is the token, so any Linux kernel can be probed. It is confined as machines are, and has no disk; the
 * network that leads to it leads to no card.
 * @module
 */
import { accessSync, constants } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { type Clock, formatDuration } from '../../../base/index.ts';
import type { Log } from '../../../platform/telemetry/index.ts';
import { poolError } from '../../errors.ts';
import { mayRunUnderTcg } from '../../image-trust.ts';
import type { StoredImage } from '../../images/image-store.ts';
import type { Accelerator } from '../hypervisor.ts';
import {
  CONSOLE_ARGUMENTS,
  INPUT,
  kernelOptions,
  machineArguments,
  NAME_PREFIX,
  qemuProgram,
} from './command-line.ts';
import { LINK_TAKEN_STATUS } from './confinement.ts';
import { guestClockOption } from './guest-clock.ts';
import { hostArchitecture, hostKey } from './host-key.ts';
import { type Launched, QemuLauncher } from './qemu-launcher.ts';
import { inputPath } from './qemu-process.ts';
import { lastWordsIn, RUN_FILES, readTail } from './run-files.ts';

const BOOT_TOKEN = 'Kernel panic - not syncing: VFS: Unable to mount root fs';
const TCG_DEADLINE_MS = 60_000;
/** Where there is no time of TCG to beat. KVM boots a kernel within a second. */
const KVM_DEADLINE_MS = 20_000;
/** A boot takes 100 ms and more. */
const LOOK_INTERVAL_MS = 10;
const PROBE_CONFIGURATION = { cpus: 1, memoryBytes: 128 * 2 ** 20, diskBytes: 0 };

const verdictSchema = z.object({
  accelerator: z.enum(['kvm', 'tcg']),
  /** A sentence for the operator. */
  reason: z.string(),
  /** What the verdict depends on; another key means: probe again. */
  key: z.string(),
});
export type AcceleratorVerdict = z.infer<typeof verdictSchema>;

/** How a kernel's boot under one accelerator went. */
export type BootOutcome = { readonly bootedMs: number } | { readonly failure: string };

/** The decision alone: KVM must boot the kernel, and beat TCG. */
export function judge(kvm: BootOutcome, tcg: BootOutcome): Omit<AcceleratorVerdict, 'key'> {
  const tcgTime =
    'bootedMs' in tcg ? `TCG boots it in ${formatDuration(tcg.bootedMs)}` : `TCG: ${tcg.failure}`;
  if ('failure' in kvm) {
    return { accelerator: 'tcg', reason: `KVM does not boot a kernel here (${kvm.failure}); ${tcgTime}` };
  }
  const kvmTime = `KVM boots a kernel in ${formatDuration(kvm.bootedMs)}`;
  const isFaster = 'failure' in tcg || kvm.bootedMs < tcg.bootedMs;
  return { accelerator: isFaster ? 'kvm' : 'tcg', reason: `${kvmTime}; ${tcgTime}` };
}

export class AcceleratorProbe {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #verdictPath: string;
  readonly #launcher: QemuLauncher;
  readonly #allowUntrustedOnTcg: boolean;
  #boots = 0;
  #finding: { readonly verdict: Promise<AcceleratorVerdict>; readonly signal: AbortSignal } | undefined;

  /**
   * @param verdictPath where the verdict is kept for the next start.
   * @param runFolder that of the hypervisor: after a crash of ours its `takeOver` ends a QEMU that hangs in a probe.
   * @param allowUntrustedOnTcg whether kernels of images that the operator did not bring are booted under TCG too.
   */
  constructor(
    deps: { clock: Clock; log: Log },
    verdictPath: string,
    runFolder: string,
    allowUntrustedOnTcg: boolean,
  ) {
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.#verdictPath = verdictPath;
    this.#launcher = new QemuLauncher(deps, runFolder);
    this.#allowUntrustedOnTcg = allowUntrustedOnTcg;
  }

  /** The verdict, measured with this image's kernel unless one for the same host and QEMU is kept. */
  async choose(image: StoredImage, signal: AbortSignal): Promise<AcceleratorVerdict> {
    for (;;) {
      signal.throwIfAborted();
      this.#finding ??= { verdict: this.#find(image, signal), signal };
      const finding = this.#finding;
      try {
        return await unlessAborted(finding.verdict, signal);
      } catch (error) {
        signal.throwIfAborted();
        if (this.#finding === finding) this.#finding = undefined;
        // When whoever began it called it off, we begin anew.
        if (!finding.signal.aborted) throw error;
      }
    }
  }

  /** The verdict that is kept, when there is one for this host and QEMU. */
  async kept(): Promise<AcceleratorVerdict | undefined> {
    const verdict = await readVerdict(this.#verdictPath);
    return verdict?.key === (await hostKey(qemuProgram(hostArchitecture()))) ? verdict : undefined;
  }

  async #find(image: StoredImage, signal: AbortSignal): Promise<AcceleratorVerdict> {
    const program = qemuProgram(image.manifest.architecture);
    const device = kvmDevice();
    const cannotUseKvm =
      image.manifest.architecture === hostArchitecture() ? device : 'the image is for another processor';
    if (cannotUseKvm !== undefined) return { accelerator: 'tcg', reason: cannotUseKvm, key: '' };
    const kept = await this.kept();
    if (kept) return kept;
    const tcg: BootOutcome = mayRunUnderTcg(image, this.#allowUntrustedOnTcg)
      ? await this.#boot(image, 'tcg', TCG_DEADLINE_MS, signal)
      : { failure: 'not tried with the kernel of an image that an origin brought' };
    const kvmDeadlineMs = 'bootedMs' in tcg ? Math.ceil(tcg.bootedMs) : KVM_DEADLINE_MS;
    const kvm = await this.#boot(image, 'kvm', kvmDeadlineMs, signal);
    const verdict = { ...judge(kvm, tcg), key: await hostKey(program) };
    this.#log.info({ accelerator: verdict.accelerator, reason: verdict.reason }, 'accelerator chosen');
    await this.#keep(verdict);
    return verdict;
  }

  async #boot(
    image: StoredImage,
    accelerator: Accelerator,
    limitMs: number,
    signal: AbortSignal,
  ): Promise<BootOutcome> {
    const { architecture } = image.manifest;
    // One that was called off may still be on its way out.
    this.#boots += 1;
    const id = `probe-${process.pid}-${this.#boots}`;
    const args = [
      ...['-name', `${NAME_PREFIX}${id}`],
      ...machineArguments(architecture, accelerator),
      ...['-m', '128M', '-smp', '1', '-kernel', inputPath(INPUT.kernel)],
      ...['-append', kernelOptions(architecture, accelerator, await guestClockOption())],
      ...CONSOLE_ARGUMENTS,
    ];
    const spec = { id, name: 'probe', image, configuration: PROBE_CONFIGURATION };
    const request = { spec, accelerator, memory: 'own', inputs: [image.kernelPath], limitMs, args } as const;
    return this.#launcher.launch(request, signal, async (launched) => {
      try {
        return await this.#untilBooted(launched, limitMs, signal);
      } finally {
        await launched.qemu.kill();
        await this.#launcher.clear(id);
      }
    });
  }

  async #untilBooted(
    { qemu, directory, startedAtMs, waiting }: Launched,
    limitMs: number,
    signal: AbortSignal,
  ): Promise<BootOutcome> {
    for (;;) {
      const isLast = waiting.aborted;
      const said = await readTail(join(directory, RUN_FILES.console));
      if (said.includes(BOOT_TOKEN)) return { bootedMs: this.#clock.monotonicMs() - startedAtMs };
      signal.throwIfAborted();
      if (qemu.ended.aborted && isLast) {
        const { status, reason } = await qemu.exited;
        // Whoever ended it, and whoever has the link, it says nothing about the accelerator.
        if (status === null || status === LINK_TAKEN_STATUS) throw poolError('machine_failed', reason);
        const lastWords = (await lastWordsIn(directory)) || said.trim().split('\n').at(-1);
        return { failure: lastWords?.slice(0, 200) || 'no word' };
      }
      if (isLast) return { failure: `not booted after ${formatDuration(limitMs)}` };
      await this.#clock.sleep(LOOK_INTERVAL_MS, waiting).catch(() => undefined);
    }
  }

  async #keep(verdict: AcceleratorVerdict): Promise<void> {
    try {
      await mkdir(dirname(this.#verdictPath), { recursive: true });
      await writeFile(`${this.#verdictPath}.new`, JSON.stringify(verdict));
      await rename(`${this.#verdictPath}.new`, this.#verdictPath);
    } catch (err) {
      // Costs a probe at the next start, nothing more.
      this.#log.warn({ err }, 'accelerator verdict not kept');
    }
  }
}

/** What `promise` comes to, unless the signal aborts first. */
function unlessAborted<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason as Error);
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

/** Why `/dev/kvm` cannot be used at all; `undefined` when it is worth a probe. */
function kvmDevice(): string | undefined {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT'
      ? 'this host has no /dev/kvm'
      : '/dev/kvm may not be opened by this user (group kvm)';
  }
}

async function readVerdict(path: string): Promise<AcceleratorVerdict | undefined> {
  const text = await readFile(path, 'utf8').catch(() => '{}');
  try {
    return verdictSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
