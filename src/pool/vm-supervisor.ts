import {
  type Clock,
  formatBytes,
  formatDuration,
  hasCode,
  messageOf,
  type Random,
  randomId,
} from '../base/index.ts';
import type { Log } from '../platform/telemetry/index.ts';
import type { GuestPlace } from './applications/application-installer.ts';
import type { HeldGuest } from './applications/applications.ts';
import { poolError } from './errors.ts';
import type { Hypervisor, Machine } from './hypervisor/hypervisor.ts';
import type { StoredImage } from './images/image-store.ts';
import { type HttpProbe, untilReady, untilUnresponsive } from './readiness.ts';
import type { Configuration, Vm } from './schema.ts';
import { initialState, transition, type VmEvent, type VmState } from './vm-state.ts';

/** What is wanted of one version of a VM. */
export interface VmSpec {
  readonly name: string;
  readonly owner: string;
  /** Which of the VM's versions this is. */
  readonly version: number;
  readonly imageRef: string;
  /** Known from the request, or recorded when the image was first fetched. */
  readonly imageDigest?: string | undefined;
  readonly configuration: Configuration;
  /** What the owner keeps with its VM. The pool does not read it. */
  readonly ownerNote: string;
  readonly createdAtMs: number;
}

export interface SupervisorDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly hypervisor: Hypervisor;
  readonly probe: HttpProbe;
  /** Brings the image of `spec`, from here or from where it is. */
  readonly fetchImage: (spec: VmSpec, signal: AbortSignal) => Promise<StoredImage>;
  /** Keeps which machine is the version's from now on; called before it is started. */
  readonly recordMachine: (spec: VmSpec, machineId: string) => Promise<void>;
  /** Puts into a guest that answers what is wanted there beside its image. */
  readonly furnish: (spec: VmSpec, place: GuestPlace, signal: AbortSignal) => Promise<void>;
  /** Called after every change of phase. */
  readonly onChange: (supervisor: VmSupervisor, previous: VmState['phase']) => void;
}

/** Failures that another attempt cannot mend. */
const FINAL_CODES = [
  'image_address_refused',
  'image_not_found',
  'image_digest_mismatch',
  'image_invalid',
  'image_outside_root',
  'image_withdrawn',
  'configuration_too_small',
  'application_not_found',
  'applications_unsupported',
];

const LEAST_ANSWER_LIMIT_MS = 10_000;
/** How long the guest of a machine that was left running may take to show that it lives. */
const LIFE_SIGN_LIMIT_MS = 5000;

/** Keeps one VM as it is wanted: fetches, starts, watches, and starts again what died. */
export class VmSupervisor {
  readonly #deps: SupervisorDeps;
  readonly #readyTimeoutMs: number;
  readonly #stop = new AbortController();
  #spec: VmSpec;
  #state: VmState;
  #machineId: string | undefined;
  #restarts = 0;
  #lastStart: Vm['lastStart'];
  #running: Promise<void> | undefined;
  #left: Machine | undefined;
  /** What the machine that serves was made from. */
  #image: StoredImage | undefined;
  /** How many are just changing what serves in the guest. */
  #holders = 0;
  readonly #adoption = Promise.withResolvers<void>();

  /** @param left a machine that an earlier process of ours started for the same: this one's now. */
  constructor(deps: SupervisorDeps, spec: VmSpec, readyTimeoutMs: number, left?: Machine) {
    this.#deps = deps;
    this.#spec = spec;
    this.#readyTimeoutMs = readyTimeoutMs;
    this.#state = initialState(deps.clock.nowMs());
    this.#left = left;
    if (!left) this.#adoption.resolve();
  }

  /** Resolves when the machine that was left running serves again, or turned out not to. */
  get adoption(): Promise<void> {
    return this.#adoption.promise;
  }

  get spec(): VmSpec {
    return this.#spec;
  }

  get state(): VmState {
    return this.#state;
  }

  /** The machine that runs for it now or ran last, for its console. */
  get machineId(): string | undefined {
    return this.#machineId;
  }

  /** The guest, when it serves, for whoever changes it: until it is let go, that it does not answer is no sign of its death. */
  hold(): HeldGuest | undefined {
    if (this.state.phase !== 'ready' || !this.#image) return undefined;
    const { machine } = this.state;
    this.#holders += 1;
    const letGo = () => {
      this.#holders -= 1;
    };
    return { machine, manifest: this.#image.manifest, [Symbol.dispose]: letGo };
  }

  describe(): Vm {
    const { state } = this;
    return {
      ...this.#spec,
      phase: state.phase,
      sinceMs: state.sinceMs,
      restarts: this.#restarts,
      ...('reason' in state && { reason: state.reason }),
      ...(state.phase === 'ready' && {
        addresses: [...state.machine.addresses],
        pid: state.machine.pid,
        accelerator: state.machine.accelerator,
      }),
      ...(this.#lastStart && { lastStart: this.#lastStart }),
    };
  }

  set ownerNote(note: string) {
    this.#spec = { ...this.#spec, ownerNote: note };
  }

  /** Begins to work, or begins again after it gave up. Does nothing while it works. */
  start(): void {
    if (this.#running || this.#stop.signal.aborted) return;
    this.#state = initialState(this.#deps.clock.nowMs());
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  /** Ends the VM and its machine; resolves when both are gone. */
  async stop(): Promise<void> {
    this.#apply({ kind: 'stopped' });
    this.#stop.abort(new Error('the VM is being stopped'));
    await this.#running;
    await this.#left?.stop();
  }

  async #run(): Promise<void> {
    const { clock } = this.#deps;
    const { signal } = this.#stop;
    while (!signal.aborted && this.state.phase !== 'failed') {
      try {
        await this.#serveOnce(signal);
      } catch (error) {
        if (signal.aborted) return;
        const isFinal = hasCode(error, ...FINAL_CODES);
        const reason = messageOf(error);
        // What is expected to go wrong has a code and says what it is; anything else is a fault of ours, with its place.
        const what = hasCode(error) ? { code: error.code, reason } : { err: error };
        this.#deps.log.warn({ vm: this.#spec.name, isFinal, ...what }, 'vm failed');
        this.#apply({ kind: 'failed', reason, isFinal });
      }
      if (this.state.phase !== 'waiting') continue;
      await clock.sleep(this.state.retryAtMs - clock.nowMs(), signal).catch(() => undefined);
      this.#restarts += 1;
      this.#apply({ kind: 'retried' });
    }
  }

  /** From the image to the end of the machine. Always throws: a machine that is wanted never ends well. */
  async #serveOnce(signal: AbortSignal): Promise<never> {
    const { clock, hypervisor, random, recordMachine } = this.#deps;
    const left = this.#left;
    this.#left = undefined;
    if (left) return this.#serveBy(left, signal);
    const startMs = clock.monotonicMs();
    const image = await this.#deps.fetchImage(this.#spec, signal);
    this.#spec = { ...this.#spec, imageDigest: image.digest };
    checkMemory(this.#spec.configuration, image);
    const fetchedMs = clock.monotonicMs();
    this.#apply({ kind: 'fetched' });

    this.#machineId = `${this.#spec.name.slice(0, 24)}-${randomId(random, 6)}`;
    const { name, configuration } = this.#spec;
    await recordMachine(this.#spec, this.#machineId);
    const machine = await hypervisor.start({ id: this.#machineId, name, image, configuration }, signal);
    try {
      await this.#untilAnswering(machine, image, signal);
      await this.#furnish(machine, image, signal);
      const nowMs = clock.monotonicMs();
      this.#lastStart = {
        fetchMs: fetchedMs - startMs,
        prepareMs: machine.startedAtMs - fetchedMs,
        bootMs: nowMs - machine.startedAtMs,
        totalMs: nowMs - startMs,
      };
      this.#apply({ kind: 'answered', machine });
      throw poolError('machine_failed', await this.#untilDead(machine, image, signal));
    } finally {
      await machine.stop();
    }
  }

  /** As `serveOnce`, with a machine that was left running. */
  async #serveBy(machine: Machine, signal: AbortSignal): Promise<never> {
    const { clock, probe } = this.#deps;
    this.#machineId = machine.id;
    try {
      const image = await this.#deps.fetchImage(this.#spec, signal);
      const { readyPath } = image.manifest.http;
      if (!(await probe(clock, machine.addresses[0], readyPath, LIFE_SIGN_LIMIT_MS, signal))) {
        throw poolError('machine_failed', 'the guest did not answer when its machine was taken over');
      }
      await this.#furnish(machine, image, signal);
      this.#apply({ kind: 'adopted', machine });
      this.#adoption.resolve();
      throw poolError('machine_failed', await this.#untilDead(machine, image, signal));
    } finally {
      this.#adoption.resolve();
      await machine.stop();
    }
  }

  async #furnish(machine: Machine, image: StoredImage, signal: AbortSignal): Promise<void> {
    this.#image = image;
    await this.#deps.furnish(this.#spec, { machine, manifest: image.manifest }, signal);
  }

  async #untilAnswering(machine: Machine, image: StoredImage, signal: AbortSignal): Promise<void> {
    const { clock, probe } = this.#deps;
    const givenUp = new AbortController();
    const limitMs = this.#answerLimitMs();
    const timer = clock.after(limitMs, () =>
      givenUp.abort(
        poolError('machine_failed', `the guest did not answer within ${formatDuration(limitMs)}`),
      ),
    );
    void machine.exited.then((reason) => givenUp.abort(poolError('machine_failed', reason)));
    const either = AbortSignal.any([signal, givenUp.signal]);
    try {
      await untilReady(clock, probe, machine.addresses[0], image.manifest.http.readyPath, either);
    } finally {
      timer[Symbol.dispose]();
    }
  }

  /** A guest that booted here before and now takes five times as long hangs: it is not worth the whole time. */
  #answerLimitMs(): number {
    if (!this.#lastStart) return this.#readyTimeoutMs;
    return Math.min(this.#readyTimeoutMs, Math.max(LEAST_ANSWER_LIMIT_MS, 5 * this.#lastStart.bootMs));
  }

  async #untilDead(machine: Machine, image: StoredImage, signal: AbortSignal): Promise<string> {
    const { clock, probe } = this.#deps;
    const watching = new AbortController();
    const either = AbortSignal.any([signal, watching.signal]);
    const look: HttpProbe = async (...place) => this.#holders > 0 || probe(...place);
    try {
      return await Promise.race([
        machine.exited,
        untilUnresponsive(clock, look, machine.addresses[0], image.manifest.http.readyPath, either),
      ]);
    } finally {
      watching.abort();
    }
  }

  #apply(event: VmEvent): void {
    const previous = this.#state;
    this.#state = transition(previous, event, this.#deps.clock.nowMs());
    if (this.#state !== previous) this.#deps.onChange(this, previous.phase);
  }
}

function checkMemory({ memoryBytes }: Configuration, { manifest }: StoredImage): void {
  if (memoryBytes >= manifest.minimumMemoryBytes) return;
  throw poolError(
    'configuration_too_small',
    `the image ${manifest.name} needs ${formatBytes(manifest.minimumMemoryBytes)} of memory; ` +
      `its configuration has ${formatBytes(memoryBytes)}`,
  );
}
