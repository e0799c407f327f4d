import { traffic } from '../support/traffic.ts';
import { type Answerer, answerer, judge, type Verdict } from '../support/verdict.ts';
import type { Asked, Seen } from '../support/visitor.ts';
import { noAnswers, noVerdicts } from './serving.ts';
import { CONCURRENCY, SITE_HOST, type Stage, VM_NAME } from './stage.ts';

/**
 * The requests of one round, in the order in which they are made, eight at a time, each when one before it is done:
 *
 *     0 …          one each 40 ms while the VM of the round before is being replaced; none is left back when it is ready
 *     … 120 …      as fast as they are answered, by the VM; held back until there is one
 *     160          goes out together with SIGKILL to the VM
 *     … 199        as fast as they are answered, by the origin, while the edge is finding out
 */
export const ROUND = { requests: 200, pacedAtMost: 120, paceMs: 40, killAt: 160 } as const;

/** Requests that went wrong are told one by one, up to this number a round. */
const TOLD_A_ROUND = 20;

export interface Round {
  readonly answeredBy: Readonly<Record<Answerer, number>>;
  readonly verdicts: Readonly<Record<Verdict, number>>;
  /** Requests without a whole answer at the moment of the kill. */
  readonly inFlight: number;
  /** Of those, answered well by the origin after all. */
  readonly rescued: number;
  /** What the VM had answered in this round when it was killed. */
  readonly servedBeforeKill: number;
  /** False when it had ended by itself before. */
  readonly wasKilled: boolean;
  readonly killToReadyMs: number;
  /** How often the pool gave the VM up meanwhile, so that the origin had to ask again. */
  readonly givenUp: number;
  readonly slowestAnswerMs: number;
  readonly failures: readonly object[];
}

/** Kills the VM once a round, with requests in flight. */
export async function killUnderLoad(
  stage: Stage,
  seed: number,
  kills: number,
): Promise<{ rounds: Round[]; answerMs: number[] }> {
  const { site, edge, signal, onProgress } = stage;
  const requests = traffic(seed, kills * ROUND.requests, SITE_HOST, (prefix) => site.paths(prefix));
  const rounds: KillRound[] = [];
  let ready: Promise<Replacement> = edge
    .untilReady(VM_NAME, signal)
    .then(({ pid }) => ({ pid, killToReadyMs: 0, givenUp: 0 }));
  for (let kill = 0; kill < kills; kill += 1) {
    onProgress('killing VMs under load', kill, kills);
    const from = kill * ROUND.requests;
    const round = new KillRound(stage, requests.slice(from, from + ROUND.requests), ready);
    await round.run();
    rounds.push(round);
    ready = round.replacement;
  }
  return {
    rounds: await Promise.all(rounds.map((round) => round.result())),
    answerMs: rounds.flatMap((round) => round.answerMs),
  };
}

interface Replacement {
  readonly pid: number;
  readonly killToReadyMs: number;
  readonly givenUp: number;
}

class KillRound {
  readonly #stage: Stage;
  readonly #requests: readonly Asked[];
  readonly #ready: Promise<Replacement>;
  #pid: number | undefined;
  #turn: Promise<unknown> = Promise.resolve();
  #answeredBy = noAnswers();
  #verdicts = noVerdicts();
  readonly #inFlight = new Set<number>();
  #rescued = 0;
  #atKill:
    | {
        readonly inFlight: ReadonlySet<number>;
        readonly servedBeforeKill: number;
        readonly wasKilled: boolean;
      }
    | undefined;
  #failures: object[] = [];
  readonly answerMs: number[] = [];
  /** The VM after the one that is killed in this round. */
  replacement: Promise<Replacement>;

  /** @param ready resolves with the VM that is to be killed. */
  constructor(stage: Stage, requests: readonly Asked[], ready: Promise<Replacement>) {
    this.#stage = stage;
    this.#requests = requests;
    this.#ready = ready;
    this.replacement = ready;
  }

  async run(): Promise<void> {
    const noted = this.#ready.then(({ pid }) => {
      this.#pid = pid;
    });
    const waiting = this.#requests.entries();
    const visit = async () => {
      for (const [index, asked] of waiting) {
        await this.#pace(index);
        if (index === ROUND.killAt) this.#kill();
        this.#inFlight.add(index);
        const seen = await this.#stage.visitor.ask(asked);
        this.#inFlight.delete(index);
        this.#note(index, seen);
      }
    };
    await Promise.all([noted, ...Array.from({ length: CONCURRENCY }, visit)]);
  }

  /** Resolves once the VM is there that replaces the killed one. */
  async result(): Promise<Round> {
    const { killToReadyMs, givenUp } = await this.replacement;
    if (!this.#atKill) throw new Error('the round is not over');
    return {
      answeredBy: this.#answeredBy,
      verdicts: this.#verdicts,
      ...this.#atKill,
      inFlight: this.#atKill.inFlight.size,
      rescued: this.#rescued,
      killToReadyMs,
      givenUp,
      slowestAnswerMs: Math.max(...this.answerMs),
      failures: this.#failures,
    };
  }

  /** Waits until the request may be made. */
  async #pace(index: number): Promise<void> {
    if (this.#pid !== undefined) return;
    const { clock, signal } = this.#stage;
    if (index < ROUND.pacedAtMost) {
      this.#turn = this.#turn.then(() => Promise.race([this.#ready, clock.sleep(ROUND.paceMs, signal)]));
      await this.#turn;
    } else await this.#ready;
  }

  #kill(): void {
    const { edge, origin, signal } = this.#stage;
    const pid = this.#pid ?? 0;
    this.#atKill = {
      inFlight: new Set(this.#inFlight),
      servedBeforeKill: this.#answeredBy.vm,
      wasKilled: killProcess(pid),
    };
    const startMs = performance.now();
    let givenUp = 0;
    const onGivenUp = () => {
      givenUp += 1;
      return origin.load();
    };
    this.replacement = edge
      .untilReady(VM_NAME, signal, { notPid: pid, onGivenUp })
      .then((vm) => ({ pid: vm.pid, killToReadyMs: performance.now() - startMs, givenUp }));
    // Whoever needs it waits for it; until then its failure is nobody's.
    this.replacement.catch(() => undefined);
  }

  #note(index: number, seen: Seen): void {
    const { site } = this.#stage;
    const verdict = judge(site, seen);
    const by = answerer(site, seen);
    this.#answeredBy[by] += 1;
    this.#verdicts[verdict] += 1;
    if (by === 'origin' && verdict === 'served' && this.#atKill?.inFlight.has(index)) this.#rescued += 1;
    this.answerMs.push(seen.totalMs);
    if (verdict === 'served' || this.#failures.length >= TOLD_A_ROUND) return;
    const { asked, headers, bodySha256: _, startMs: __, ...rest } = seen;
    const { method, path } = asked;
    this.#failures.push({ index, verdict, method, path, servedBy: headers['orilla-served-by'], ...rest });
  }
}

/** False when there is no such process any more. */
function killProcess(pid: number): boolean {
  try {
    return pid > 0 && process.kill(pid, 'SIGKILL');
  } catch {
    return false;
  }
}
