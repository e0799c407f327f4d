import { z } from 'zod';
import { CodedError, systemClock } from '../../../src/base/index.ts';
import { execOutcomeSchema, snapshotSchema, type Vm } from '../../../src/pool/schema.ts';
import type { Answer, Question } from '../ask.ts';
import { VmApiClient } from '../vm-api-client.ts';
import type { GuardedOrilla } from './guarded-orilla.ts';

const EXEC_LIMIT_MS = 20_000;
/** How often it is looked whether an operation has ended. */
const END_LOOKS = 50;
const LOOK_MS = 200;
const API_PATH = '/version1/virtualmachine';
/** A VM that is just not in the state for it, or whose machine was killed meanwhile, may refuse. */
const REFUSALS = new Set([
  'guest_agent_missing',
  'guest_command_failed',
  'guest_command_timeout',
  'machine_failed',
  'previous_version_missing',
  'snapshot_conflict',
  'snapshot_not_found',
  'vm_conflict',
  'vm_failed',
  'vm_not_ready',
]);
const operationAnswer = z.object({ operation: z.object({ status: z.string(), virtualmachine: z.string() }) });
const refusalAnswer = z.object({ error: z.object({ code: z.string() }) });

export interface VmOptions {
  readonly name: string;
  readonly origin: string;
  readonly diskBytes: number;
  /** References of images to change between. */
  readonly images: readonly [string, string];
}

/** What was written and acknowledged: to the memory, and to the disk. `undefined`: nothing that is known. */
interface Written {
  readonly word: string | undefined;
  /** The last line that was acknowledged, and those that came after it and were not. */
  readonly lines: readonly string[];
}

/** A request with a key that was answered. */
interface Asked {
  readonly path: string;
  readonly question: Question;
  readonly operation: string | undefined;
}

/** One VM as its owner and the operator know it: what was asked of it and answered, to be found again after any crash. */
export class TriedVm {
  readonly #orilla: GuardedOrilla;
  readonly options: VmOptions;
  #image = 0;
  #count = 0;
  #written: Written = { word: undefined, lines: [''] };
  #failures = 0;
  readonly #snapshots = new Map<string, Written>();
  #asked: Asked[] = [];
  /** `unsure`: it may be suspended or not, and comes back when it is resumed. */
  state: 'absent' | 'ready' | 'suspended' | 'unsure' = 'absent';
  readonly faults: string[] = [];

  constructor(orilla: GuardedOrilla, options: VmOptions) {
    this.#orilla = orilla;
    this.options = options;
  }

  get name(): string {
    return this.options.name;
  }

  /** Its machine was killed: what was in its memory is gone. */
  machineKilled(): void {
    this.#written = { ...this.#written, word: undefined };
  }

  async load(): Promise<void> {
    const taken = await this.#askApi('POST', API_PATH, this.#wanted());
    if (!taken || this.state !== 'absent') return;
    this.state = 'ready';
    this.#written = { word: undefined, lines: [''] };
  }

  async change(): Promise<void> {
    this.#image = 1 - this.#image;
    const taken = await this.#askApi('PUT', `${API_PATH}/${this.name}`, this.#wanted());
    if (taken) this.#becameAnother();
    else this.#image = 1 - this.#image;
  }

  async rollBack(): Promise<void> {
    if (await this.#askApi('POST', `${API_PATH}/${this.name}/rollback`)) this.#becameAnother();
  }

  async stop(): Promise<void> {
    const { status } = await this.#api(`${API_PATH}/${this.name}`, { method: 'DELETE' });
    if (status !== 204 && status !== 404) {
      this.faults.push(`DELETE ${this.name} was answered with ${status}`);
      return;
    }
    this.state = 'absent';
    this.#image = 0;
    this.#snapshots.clear();
    this.#asked = [];
  }

  async suspend(): Promise<void> {
    if (await this.#order('suspend', () => this.#command('suspend'))) this.state = 'suspended';
  }

  async resume(): Promise<void> {
    if (await this.#order('resume', () => this.#command('resume'))) this.state = 'ready';
  }

  async snapshot(): Promise<void> {
    const label = this.#next('s');
    const before = this.#written;
    const take = () =>
      this.#orilla.control.post(`/api/v1/vms/${this.name}/snapshots`, { label }, snapshotSchema);
    if (await this.#order('snapshot', take, 'snapshot_conflict')) this.#snapshots.set(label, before);
  }

  /** @param choose which of its snapshots, by a number from 0 to below 1. */
  async revert(choose: number): Promise<void> {
    const [label, then] = [...this.#snapshots][Math.floor(choose * this.#snapshots.size)] ?? [];
    if (label === undefined || !then) return;
    const { lines } = this.#written;
    const order = () => this.#command(`snapshots/${label}/revert`);
    if (await this.#order('revert', order)) {
      this.#written = then;
      this.#failures = this.#failureCount();
      this.state = 'ready';
      return;
    }
    // It may have ended half way: then it stays suspended until somebody decides.
    this.#written = { word: undefined, lines: [...then.lines, ...lines] };
    this.state = 'unsure';
  }

  /** Writes to its memory and its disk by a program in its guest. */
  async write(): Promise<void> {
    const line = this.#next('');
    this.#written = { word: undefined, lines: [...this.#written.lines, line] };
    const script = `echo ${line} >/run/word
      [ ! -b /dev/vda ] || printf '%-16s' ${line} | dd of=/dev/vda conv=notrunc,fsync 2>/dev/null`;
    const before = await this.#look();
    const outcome = await this.#exec(script);
    if (outcome === undefined) return;
    const after = await this.#look();
    const isSame = before && after && before.version === after.version && before.pid === after.pid;
    this.#written = { word: isSame && !before.next && !after.next ? line : undefined, lines: [line] };
    this.#failures = this.#failureCount();
  }

  /** Whether it is as it was asked to be last. */
  isSettled(vm: Vm | undefined): boolean {
    if (this.state === 'absent') return vm === undefined;
    return vm !== undefined && !vm.next && vm.phase === (this.state === 'suspended' ? 'suspended' : 'ready');
  }

  /** Looks for what was acknowledged: in the guest, and in the API. */
  async check(): Promise<void> {
    for (const asked of this.#asked) await this.#checkAsked(asked);
    this.#asked = [];
    if (this.state !== 'ready') return;
    const found = await this.#exec(`cat /run/word 2>/dev/null; echo :
      [ ! -b /dev/vda ] || { echo 3 >/proc/sys/vm/drop_caches; head -c 16 /dev/vda; }`);
    if (found === undefined) return;
    const [word = '', line = ''] = found.split(':\n').map((text) => text.replaceAll('\0', '').trim());
    const { word: kept, lines } = this.#written;
    if (kept !== undefined && this.#failures === this.#failureCount() && word !== kept) {
      this.faults.push(`the memory of ${this.name} has ${JSON.stringify(word)}; written was ${kept}`);
    }
    if (this.options.diskBytes > 0 && !lines.includes(line)) {
      this.faults.push(
        `the disk of ${this.name} has ${JSON.stringify(line)}; written was ${lines.join(', ')}`,
      );
    }
    if (this.options.diskBytes > 0) this.#written = { ...this.#written, lines: [line] };
  }

  #wanted(): object {
    const { name, diskBytes, images } = this.options;
    const configuration = { cpus: 1, memoryBytes: 144 * 2 ** 20, diskBytes };
    return { virtualmachine: { name, imageRef: images[this.#image], configuration } };
  }

  /** A new version was asked for, or the one before: by itself it is not suspended, and begins with an empty memory. */
  #becameAnother(): void {
    this.machineKilled();
    if (this.state === 'suspended') this.state = 'unsure';
  }

  #next(prefix: string): string {
    this.#count += 1;
    return `${prefix}${this.#count}`;
  }

  /** How often it was told that a machine of this VM, or one that is not named, came to its end. */
  #failureCount(): number {
    return this.#orilla.log.filter(
      ({ msg, vm }) =>
        (msg === 'vm failed' && vm === this.name) ||
        msg === 'machine not taken over' ||
        msg === 'ended machines of an earlier process',
    ).length;
  }

  async #look(): Promise<Vm | undefined> {
    const { vms } = await this.#orilla.answered((orilla) => orilla.status());
    return vms.find(({ name }) => name === this.name);
  }

  #api(path: string, question: Question): Promise<Answer> {
    return this.#orilla.answered((orilla) =>
      new VmApiClient(orilla, this.options.origin).ask(path.slice(API_PATH.length), question),
    );
  }

  /** Asks with a key of its own; whether it was taken on. */
  async #askApi(method: string, path: string, body?: object): Promise<boolean> {
    const key = this.#next(`${this.name}-`);
    const headers = { 'idempotency-key': key, ...(body && { 'content-type': 'application/json' }) };
    const question = { method, headers, ...(body && { body: JSON.stringify(body) }) };
    const answer = await this.#api(path, question);
    if (answer.status >= 400) {
      this.#checkRefusal(`${method} ${path}`, answer);
      return false;
    }
    this.#asked.push({ path, question, operation: operationIn(answer) });
    return true;
  }

  #checkRefusal(what: string, { status, body }: Answer): void {
    const { error } = refusalAnswer.safeParse(JSON.parse(body)).data ?? {};
    if (REFUSALS.has(error?.code ?? '')) return;
    if (this.state === 'absent' && status === 404) return;
    this.faults.push(`${what} was answered with ${status} ${body}`);
  }

  async #checkAsked({ path, question, operation }: Asked): Promise<void> {
    const again = await this.#api(path, question);
    if (again.status >= 400) this.#checkRefusal(`${question.method} ${path}, asked again,`, again);
    if (operation === undefined) return;
    const found = operationIn(again);
    if (found !== undefined && found !== operation) {
      this.faults.push(`the same key began ${operation}, and then ${found}`);
    }
    const answered = () =>
      this.#orilla.answered((orilla) => new VmApiClient(orilla, this.options.origin).operation(operation));
    const operationOf = ({ body }: Answer) => operationAnswer.safeParse(JSON.parse(body)).data?.operation;
    let answer = await answered();
    // That the VM is ready is told a moment before the end of what it was made ready for is written.
    for (let looks = 0; operationOf(answer)?.status === 'running' && looks < END_LOOKS; looks += 1) {
      await systemClock.sleep(LOOK_MS);
      answer = await answered();
    }
    const told = operationOf(answer);
    if (told?.virtualmachine !== this.name) {
      this.faults.push(
        `the operation ${operation} of ${this.name} was told as ${answer.status} ${answer.body}`,
      );
    } else if (told.status === 'running') {
      this.faults.push(`the operation ${operation} of ${this.name} has no end: ${answer.body}`);
    }
  }

  #command(action: string): Promise<void> {
    return this.#orilla.control.command('POST', `/api/v1/vms/${this.name}/${action}`);
  }

  /** Whether the operator's order was carried out. @param done a code that says that it was, when it came before. */
  async #order(what: string, order: () => Promise<unknown>, done?: string): Promise<boolean> {
    try {
      await this.#orilla.answered(order);
      return true;
    } catch (error) {
      const code = error instanceof CodedError ? error.code : '';
      if (code === done) return true;
      const isExpected = REFUSALS.has(code) || (this.state === 'absent' && code === 'vm_not_found');
      if (!isExpected) this.faults.push(`${what} ${this.name}: ${code} ${String(error)}`);
      return false;
    }
  }

  /** What a script in the guest printed; `undefined` when it did not come to its end. */
  async #exec(script: string): Promise<string | undefined> {
    const request = { argv: ['sh', '-c', script], limitMs: EXEC_LIMIT_MS };
    let output: string | undefined;
    const { control } = this.#orilla;
    const isDone = await this.#order('exec', async () => {
      const path = `/api/v1/vms/${this.name}/exec`;
      const { status, stdout } = await control.post(path, request, execOutcomeSchema, 2 * EXEC_LIMIT_MS);
      if (status === 0) output = Buffer.from(stdout, 'base64').toString();
    });
    return isDone ? output : undefined;
  }
}

/** The operation that an answer names as under way. */
function operationIn({ headers }: Answer): string | undefined {
  return /^\/version1\/operations\/(\w+)$/.exec(headers.location ?? '')?.[1];
}
