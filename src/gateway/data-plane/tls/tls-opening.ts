import type { Socket } from 'node:net';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { type Clock, hasCode } from '../../../base/index.ts';
import type { UpstreamEvents, UpstreamFailure, UpstreamRequest, UpstreamStream } from '../upstream.ts';

/** A server that is not reached by then is not there. */
const OPEN_TIMEOUT_MS = 10_000;

/** A request that waits for a connection: over which version of HTTP it goes turns out with that. */
export class WaitingStream implements UpstreamStream {
  readonly request: UpstreamRequest;
  readonly events: UpstreamEvents;
  #stream: UpstreamStream | undefined;
  isAbandoned = false;

  constructor(request: UpstreamRequest, events: UpstreamEvents) {
    this.request = request;
    this.events = events;
  }

  goOver(stream: UpstreamStream): void {
    this.#stream = stream;
  }

  data(octets: Buffer): boolean {
    return this.#stream?.data(octets) ?? true;
  }

  end(trailers: string): void {
    this.#stream?.end(trailers);
  }

  resume(): void {
    this.#stream?.resume();
  }

  abandon(): void {
    this.isAbandoned = true;
    this.#stream?.abandon();
  }
}

export interface OpeningOwner {
  /** It is there; nothing has been read of what comes over it. */
  onOpen(socket: TLSSocket, waiting: readonly WaitingStream[]): void;
  /** It is not: those that waited are told. */
  onNotOpened(): void;
}

/** A connection by TLS that is being made, and the requests that wait for it. */
export class TlsOpening {
  readonly #socket: Socket;
  readonly #waiting: WaitingStream[] = [];

  constructor(clock: Clock, options: ConnectionOptions, owner: OpeningOwner) {
    const socket = connect(options);
    this.#socket = socket;
    let reason: UpstreamFailure['reason'] = 'refused';
    const timer = clock.after(OPEN_TIMEOUT_MS, () => {
      reason = 'timeout';
      socket.destroy();
    });
    const onClose = () => {
      timer[Symbol.dispose]();
      owner.onNotOpened();
      for (const { events, isAbandoned } of this.#waiting) {
        if (!isAbandoned) events.onFailure({ reason, wasSent: false, wasStale: false });
      }
    };
    socket.on('error', (error) => {
      if (hasCode(error, 'address_forbidden')) reason = 'forbidden';
    });
    socket.once('close', onClose);
    socket.once('secureConnect', () => {
      timer[Symbol.dispose]();
      socket.off('close', onClose);
      owner.onOpen(
        socket,
        this.#waiting.filter(({ isAbandoned }) => !isAbandoned),
      );
    });
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  add(request: UpstreamRequest, events: UpstreamEvents): UpstreamStream {
    const stream = new WaitingStream(request, events);
    this.#waiting.push(stream);
    return stream;
  }

  destroy(): void {
    this.#socket.destroy();
  }
}
