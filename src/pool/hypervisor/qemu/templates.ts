import { join } from 'node:path';
import { type Clock, hasCode, messageOf, type Random } from '../../../base/index.ts';
import type { Log } from '../../../platform/telemetry/index.ts';
import { probeHttp, untilReady } from '../../readiness.ts';
import type { Accelerator, Machine, MachineSpec, StartedMachine } from '../hypervisor.ts';
import { type IdentifiedSpec, INPUT } from './command-line.ts';
import { GuestAgent, resumeMessage } from './guest-agent.ts';
import { addressesOf, type QemuLauncher, waitAside } from './qemu-launcher.ts';
import { INPUT_DESCRIPTOR } from './qemu-process.ts';
import { RUN_FILES } from './run-files.ts';
import { templateKey } from './template-key.ts';
import { makeTemplate, SHARED_MEMORY_STAYS } from './template-maker.ts';
import { type Template, TemplateStore } from './template-store.ts';

/** The first machine has the processors for itself while it boots and takes its first requests. */
const HEAD_START_MS = 3000;
/** A clone is up in 0.1 s; one that is not by now has a damaged memory, or a host with no time for it. */
const CLONE_LIMIT_MS = 10_000;

export interface TemplatesDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly random: Random;
  readonly launcher: QemuLauncher;
}

/** Machines that begin where another had booted to. */
export class Templates {
  readonly #deps: TemplatesDeps;
  readonly #store: TemplateStore;
  /** Of guests that cannot be cloned, so that it is not tried again and again. */
  readonly #impossible = new Set<string>();
  /** One at a time: it takes a processor for seconds. */
  #isMaking = false;

  constructor(deps: TemplatesDeps, folder: string) {
    this.#deps = deps;
    this.#store = new TemplateStore(deps, folder);
  }

  /** A machine from its template; `undefined` when there is none, or none that is any good, and it has to be booted. */
  async clone(
    spec: IdentifiedSpec,
    accelerator: Accelerator,
    signal: AbortSignal,
  ): Promise<StartedMachine | undefined> {
    const key = await templateKey(spec, accelerator, await this.#deps.launcher.reach());
    const template = await this.#store.find(key);
    if (!template) return undefined;
    try {
      return await this.#resume(template, spec, accelerator, signal);
    } catch (err) {
      signal.throwIfAborted();
      if (hasCode(err, 'disk_full', 'hypervisor_missing')) throw err;
      this.#deps.log.warn({ err, vm: spec.name }, 'template discarded, its clone did not come up');
      await this.#store.discard(key);
      return undefined;
    }
  }

  async #resume(
    template: Template,
    spec: IdentifiedSpec,
    accelerator: Accelerator,
    signal: AbortSignal,
  ): Promise<StartedMachine> {
    const { clock, launcher, random } = this.#deps;
    const inputs = [template.kernel, spec.image.initrdPath, template.memory, template.state];
    const request = { spec, accelerator, memory: 'clone', inputs, limitMs: CLONE_LIMIT_MS } as const;
    return launcher.launch(request, signal, async (launched) => {
      const { directory, waiting } = launched;
      const monitor = await launcher.monitorOf(launched);
      try {
        // Before the guest runs: what it was reading from must be open when it goes on.
        const agent = await GuestAgent.connect(clock, join(directory, RUN_FILES.agent), waiting);
        agent.tell(resumeMessage(spec.name, clock.nowMs(), random));
        await monitor.execute('migrate-set-capabilities', SHARED_MEMORY_STAYS);
        await monitor.execute('migrate-incoming', { uri: `fd:${INPUT_DESCRIPTOR + INPUT.state}` });
        await agent.hear('resumed', waiting);
        agent.close();
        const addresses = await addressesOf(launched, monitor, spec.image.manifest.http.port);
        const { startedAtMs } = launched;
        return { ...launcher.machineOf(launched, addresses), startedAtMs, origin: 'clone' };
      } finally {
        monitor.close();
      }
    });
  }

  /** Makes a template like this machine, while it runs, unless there is one or cannot be one. Resolves when that is over. */
  async makeLike(machine: Machine, spec: MachineSpec): Promise<void> {
    const { clock, log } = this.#deps;
    const ended = new AbortController();
    void machine.exited.then(() => ended.abort(new Error('the machine ended')));
    const { signal } = ended;
    try {
      await waitAside(clock, HEAD_START_MS, signal);
      signal.throwIfAborted();
      await untilReady(clock, probeHttp, machine.addresses[0], spec.image.manifest.http.readyPath, signal);
      await this.make(spec, machine.accelerator, signal);
    } catch (error) {
      if (!signal.aborted) log.warn({ vm: spec.name, reason: messageOf(error) }, 'no template made');
    }
  }

  /** @throws `machine_failed`, `disk_full` */
  async make(spec: MachineSpec, accelerator: Accelerator, signal: AbortSignal): Promise<void> {
    const { log, launcher } = this.#deps;
    const key = await templateKey(spec, accelerator, await launcher.reach());
    if (this.#isMaking || this.#impossible.has(key) || (await this.#store.find(key))) return;
    this.#isMaking = true;
    try {
      const isMade = await makeTemplate(
        { ...this.#deps, store: this.#store },
        key,
        spec,
        accelerator,
        signal,
      );
      if (!isMade) this.#impossible.add(key);
      log.info({ image: spec.image.digest, isMade }, 'template tried');
    } finally {
      this.#isMaking = false;
    }
  }
}
