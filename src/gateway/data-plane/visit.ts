/**
 * One request from its head to the end of its answer: who is to serve it, what is sent there, and who else is asked when that
 * one fails. No socket is seen here, so it is the same for every version of HTTP.
 *
 * A VM may die at any moment. Therefore a small body of a request is kept, and a small answer of a VM is held, until it is
 * whole: then the origin can be asked instead, and the client sees nothing of it.
 * @module
 */

import { AnswerHold } from './answer-hold.ts';
import type { AnswerHead, ClientEvents, ClientRequest, ClientStream } from './client.ts';
import type { Route, ServedBy, VmUpstream } from './data-plane.ts';
import { describeFailure, GIVE_UP_STATUS, type GiveUpReason } from './give-up.ts';
import { UNTIL_CLOSE } from './http1/message-length.ts';
import type { ResponseHead } from './http1/response-head.ts';
import type { LiveRoute } from './live-route.ts';
import { Patience } from './patience.ts';
import { chooseSleeper, isIdempotent, mayReplay, type Target } from './target.ts';
import type { UpstreamEvents, UpstreamFailure, UpstreamStream } from './upstream.ts';
import { upstreamFields } from './upstream-fields.ts';
import type { VisitHost } from './visit-host.ts';
import { VisitMeasures } from './visit-measures.ts';
import { VmSeat } from './vm-seat.ts';
import type { Waiting } from './waking.ts';

/** Bodies up to this size are kept until the answer begins, so that the request can be sent again. */
const KEEP_LIMIT_BYTES = 64 * 1024;
/** One server twice (its kept connection was stale), then another. */
const ATTEMPT_LIMIT = 3;

export class Visit implements ClientEvents, UpstreamEvents, Waiting {
  readonly #plane: VisitHost;
  readonly #client: ClientStream;
  readonly #request: ClientRequest;
  readonly #route: LiveRoute;
  readonly #target: Target;
  readonly #showServedBy: boolean;
  readonly #measures: VisitMeasures;
  readonly #seat: VmSeat;
  #stream: UpstreamStream | undefined;
  #attempts = 0;
  /** `keeping`: a small body is gathered. `waking`: its VM sleeps. `answering`: the client has the answer's head. */
  #phase: 'keeping' | 'waking' | 'asking' | 'answering' | 'tunnel' | 'over' = 'asking';
  #kept: Buffer[] = [];
  #body: Buffer | undefined;
  /** Octets of a body that was not kept have gone upstream: it cannot be sent again. */
  #isBodySpent = false;
  #isBodyOver: boolean;
  #hold: AnswerHold | undefined;
  #endsWithConnection = false;
  #status = 0;
  /** The server had closed a kept connection: the others that are kept may be closed too. */
  #wasStale = false;
  /** The client does not take what it was given: silence is not the upstream's. */
  #isBlocked = false;
  readonly #patience = new Patience();

  constructor(
    plane: VisitHost,
    client: ClientStream,
    request: ClientRequest,
    route: LiveRoute,
    target: Target,
  ) {
    this.#plane = plane;
    this.#seat = new VmSeat(plane);
    this.#client = client;
    this.#request = request;
    this.#route = route;
    this.#target = target;
    this.#showServedBy = plane.snapshot.showServedBy;
    this.#measures = new VisitMeasures(plane.clock.monotonicMs());
    this.#isBodyOver = request.bodyLength === 0;
    route.load.active += 1;
  }

  /** When `onDeadline` is to be called, on the monotonic clock. */
  get deadlineMs(): number {
    return this.#patience.nextMs;
  }

  start(): void {
    const { bodyLength, method } = this.#request;
    this.#seat.take(this.#route, method, this.#target.path);
    if (bodyLength > 0 && bodyLength <= KEEP_LIMIT_BYTES) {
      this.#phase = 'keeping';
      this.#client.wantBody();
    } else this.#wakeOrAsk();
  }

  #wakeOrAsk(): void {
    const sleeper = this.#vm
      ? undefined
      : chooseSleeper(this.#route, this.#request.method, this.#target.path);
    if (sleeper && this.#plane.waking.wait(this.#target.hostName, sleeper.name, this)) this.#phase = 'waking';
    else this.#ask();
  }

  onWoken(route: Route | undefined): void {
    if (this.#phase !== 'waking') return;
    if (route) this.#seat.take(route, this.#request.method, this.#target.path);
    this.#ask();
  }

  #ask(): void {
    this.#attempts += 1;
    const { upstreams } = this.#plane;
    const upstream = this.#vm ?? this.#route.upstream;
    if (!this.#vm && !upstreams.takes(upstream)) {
      this.#giveUp('busy');
      return;
    }
    this.#phase = 'asking';
    this.#hold = undefined;
    this.#extendDeadline();
    if (this.#route.isTunnel) {
      this.#stream = upstreams.tunnel(upstream, this);
      return;
    }
    const { method, bodyLength, isWebSocket } = this.#request;
    this.#stream = upstreams.ask(
      upstream,
      {
        method,
        path: this.#target.path,
        host: this.#route.originHost ?? this.#target.host,
        fields: upstreamFields(
          this.#route,
          this.#target,
          this.#client,
          this.#request,
          this.#vm !== undefined,
        ),
        bodyLength,
        body: this.#body,
        isWebSocket,
      },
      this,
      !isIdempotent(method) || this.#wasStale,
    );
  }

  // From the client

  onBody(octets: Buffer): boolean {
    if (this.#phase === 'keeping') {
      this.#kept.push(Buffer.from(octets));
      return true;
    }
    // The answer is out already, and the rest of the request is read over.
    if (this.#phase === 'over' || !this.#stream) return true;
    this.#isBodySpent = true;
    this.#extendDeadline();
    return this.#stream.data(octets);
  }

  onBodyEnd(trailers: string): void {
    this.#isBodyOver = true;
    if (this.#phase === 'keeping') {
      this.#body = this.#kept.length === 1 ? this.#kept[0] : Buffer.concat(this.#kept);
      this.#kept = [];
      this.#wakeOrAsk();
    } else if (this.#phase !== 'over') this.#stream?.end(trailers);
  }

  onClientDrain(): void {
    this.#isBlocked = false;
    if (this.#phase !== 'over') this.#extendDeadline();
    this.#stream?.resume();
  }

  onClientGone(reason: string): void {
    if (this.#phase === 'over') {
      this.#stream?.abandon();
      return;
    }
    const wasTunnel = this.#phase === 'tunnel';
    this.#stream?.abandon();
    this.#over(
      this.#servedBy,
      wasTunnel ? this.#status : this.#status || 499,
      wasTunnel ? undefined : reason,
    );
  }

  // From the upstream

  onUpstreamReady(): void {
    if (this.#request.bodyLength !== 0 && this.#body === undefined) this.#client.wantBody();
    if (this.#route.isTunnel) {
      this.#upstreamSucceeded();
      this.#switch(undefined);
    }
  }

  onUpstreamDrain(): void {
    if (!this.#isBodyOver) this.#client.wantBody();
  }

  onInterim(head: ResponseHead): void {
    this.#client.interim(head);
  }

  onHead(head: ResponseHead): void {
    this.#upstreamSucceeded();
    if (head.status === 101) {
      this.#switch(head);
      return;
    }
    this.#extendDeadline();
    this.#endsWithConnection = head.hasBody && head.bodyLength === UNTIL_CLOSE;
    const hold = this.#vm && AnswerHold.of(head);
    if (!hold) {
      this.#begin(head);
      return;
    }
    this.#hold = hold;
    if (hold.patienceMs !== undefined) {
      this.#plane.clock.after(hold.patienceMs, () => {
        if (this.#hold === hold) this.#release(hold);
      });
    }
  }

  onData(octets: Buffer): boolean {
    this.#extendDeadline();
    const hold = this.#hold;
    if (!hold) return this.#send(octets);
    if (hold.isWholeIn(octets)) {
      this.#hold = undefined;
      this.#begin(hold.head);
      return this.#send(octets);
    }
    hold.add(octets);
    if (hold.isEnough) this.#release(hold);
    return true;
  }

  onPause(): void {
    if (this.#phase === 'answering') this.#client.flush();
  }

  onEnd(trailers: string): void {
    if (!this.#vm || !this.#endsWithConnection) {
      this.#finish(trailers);
      return;
    }
    // It looks whole also when the VM died: that is asked for.
    void this.#plane.upstreams.accepts(this.#vm).then((isAlive) => {
      if (this.#phase === 'over') return;
      if (isAlive) this.#finish(trailers);
      else this.onFailure({ reason: 'broken', wasSent: true, wasStale: false });
    });
  }

  #finish(trailers: string): void {
    if (this.#hold) this.#release(this.#hold);
    this.#client.end(trailers);
    this.#over(this.#servedBy, this.#status, undefined);
  }

  onFailure(failure: UpstreamFailure): void {
    if (this.#phase === 'over') return;
    const { method } = this.#request;
    if (!failure.wasStale && failure.reason !== 'forbidden')
      this.#plane.upstreams.breaker(this.#vm ?? this.#route.upstream).failed(this.#plane.clock.monotonicMs());
    if (this.#phase === 'answering' || this.#phase === 'tunnel') {
      const wasTunnel = this.#phase === 'tunnel';
      this.#client.abort();
      this.#over(this.#servedBy, this.#status, wasTunnel ? undefined : this.#describe(failure.reason));
      return;
    }
    const isWhole = this.#body !== undefined || !this.#isBodySpent;
    const mayAskAgain = this.#attempts < ATTEMPT_LIMIT && mayReplay(method, failure.wasSent, isWhole);
    this.#wasStale = failure.wasStale;
    if (mayAskAgain && failure.wasStale) this.#ask();
    else if (mayAskAgain && this.#vm) {
      this.#seat.leave();
      this.#measures.wasReplayed = true;
      this.#ask();
    } else this.#giveUp(failure.reason);
  }

  onTraffic(octets: number): void {
    this.#measures.count(octets, this.#vm !== undefined);
  }

  /** The deadline has passed: whoever was waited for is given up. */
  onDeadline(): void {
    const nowMs = this.#plane.clock.monotonicMs();
    if (this.#vm && !this.#patience.isOver(nowMs)) {
      this.#patience.looked(nowMs);
      if (!this.#isBlocked) this.#look(this.#vm);
      return;
    }
    this.#patience.end();
    this.#stream?.abandon();
    this.onFailure({ reason: 'timeout', wasSent: true, wasStale: false });
  }

  /** Whether the VM still takes connections; when not, it is not waited for. */
  #look(vm: VmUpstream): void {
    const asked = this.#stream;
    void this.#plane.upstreams.accepts(vm).then((isAlive) => {
      if (isAlive || this.#phase === 'over' || this.#stream !== asked) return;
      asked?.abandon();
      this.onFailure({ reason: 'broken', wasSent: true, wasStale: false });
    });
  }

  // To the client

  #begin(head: ResponseHead): void {
    this.#measures.begin(this.#plane.clock.monotonicMs());
    this.#phase = 'answering';
    this.#status = head.status;
    this.#client.begin(head, this.#servedByField);
  }

  #send(octets: Buffer): boolean {
    this.#measures.sentBytes += octets.length;
    const takesMore = this.#client.data(octets);
    this.#isBlocked = !takesMore;
    return takesMore;
  }

  #release(hold: AnswerHold): void {
    this.#hold = undefined;
    this.#begin(hold.head);
    for (const octets of hold.octets) this.#send(octets);
    this.#client.flush();
  }

  #switch(head: AnswerHead | undefined): void {
    this.#measures.begin(this.#plane.clock.monotonicMs());
    this.#phase = 'tunnel';
    this.#status = head?.status ?? 200;
    // What comes from now on is no body of a request, and ends with the connection.
    this.#isBodyOver = false;
    this.#extendDeadline();
    this.#client.switchProtocols(head, this.#servedByField);
  }

  #giveUp(failure: GiveUpReason): void {
    const status = GIVE_UP_STATUS[failure];
    const message = this.#describe(failure);
    const { origin } = this.#route;
    this.#plane.log.warn({ origin, vm: this.#vm?.name, failure }, 'no answer from upstream');
    this.#stream = undefined;
    this.#plane.refuse(this.#client, this.#request.method, status, message);
    this.#status = status;
    this.#over('gateway', status, message);
  }

  #describe(failure: GiveUpReason): string {
    const origin = this.#route.isForeign ? this.#target.hostName : `the origin ${this.#route.origin}`;
    return describeFailure(failure, this.#vm?.name, origin, this.#phase === 'answering');
  }

  get #vm(): VmUpstream | undefined {
    return this.#seat.vm;
  }

  get #servedBy(): ServedBy {
    return this.#vm ? 'vm' : 'origin';
  }

  get #servedByField(): string | undefined {
    if (!this.#showServedBy) return undefined;
    return this.#vm ? `vm/${this.#vm.name}` : 'origin';
  }

  #upstreamSucceeded(): void {
    this.#plane.upstreams.breaker(this.#vm ?? this.#route.upstream).succeeded();
  }

  #extendDeadline(): void {
    const phase = this.#phase === 'answering' || this.#phase === 'tunnel' ? this.#phase : 'asking';
    this.#patience.renew(this.#plane.clock.monotonicMs(), phase, this.#vm !== undefined);
  }

  #over(servedBy: ServedBy, status: number, failure: string | undefined): void {
    this.#phase = 'over';
    this.#patience.end();
    this.#route.load.active -= 1;
    const { origin } = this.#route;
    const { counts, sentBytes } = this.#measures;
    const durationMs = this.#measures.durationMs(this.#plane.clock.monotonicMs());
    const passage = {
      client: this.#client,
      request: this.#request,
      durationMs,
      sentBytes,
      vm: this.#vm?.name,
    };
    this.#plane.observe({ origin, servedBy, status, ...counts, failure }, passage);
    this.#seat.leave();
  }
}
