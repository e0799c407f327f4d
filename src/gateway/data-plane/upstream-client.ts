import type { EventEmitter } from 'node:events';
import { type Agent, Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { connect, type Socket } from 'node:net';
import { type Clock, systemCode } from '../../base/index.ts';
import type { Upstream } from './data-plane.ts';
import type { RequestBody } from './request-body.ts';
import { isIdempotent } from './target.ts';

/** What is asked of an upstream. */
export interface UpstreamRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: readonly string[];
  readonly body: RequestBody;
  /** Until the head of the answer is here. */
  readonly firstByteTimeoutMs: number;
  /** When this closes there is nobody left to answer. */
  readonly client: EventEmitter;
}

export interface Answer {
  readonly kind: 'answer';
  readonly message: IncomingMessage;
  /** Octets over the connection for this request so far, both ways. */
  readonly bytes: () => number;
}

export interface NoAnswer {
  readonly kind: 'none';
  readonly reason: 'refused' | 'timeout' | 'broken';
  /** Whether any octet of the request may have reached the server. */
  readonly wasSent: boolean;
  /** The server had closed a connection that was kept open: says nothing about its health. */
  readonly wasStale: boolean;
  readonly bytes: number;
}

/** A silent upstream is given up after this long between two octets of a body. */
const BODY_IDLE_TIMEOUT_MS = 60_000;
const ACCEPT_TIMEOUT_MS = 3000;
const SOCKETS_PER_UPSTREAM = 256;

/** Asks upstreams over `node:http`, keeping connections. */
export class UpstreamClient {
  readonly #clock: Clock;
  readonly #agents: Record<'http' | 'https', { kept: Agent; fresh: Agent }>;

  constructor(clock: Clock) {
    this.#clock = clock;
    const kept = {
      keepAlive: true,
      maxSockets: SOCKETS_PER_UPSTREAM,
      maxFreeSockets: SOCKETS_PER_UPSTREAM,
      scheduling: 'lifo',
    } as const;
    const fresh = { keepAlive: false, maxSockets: SOCKETS_PER_UPSTREAM };
    this.#agents = {
      http: { kept: new HttpAgent(kept), fresh: new HttpAgent(fresh) },
      https: { kept: new HttpsAgent(kept), fresh: new HttpsAgent(fresh) },
    };
  }

  close(): void {
    for (const { kept, fresh } of Object.values(this.#agents)) {
      kept.destroy();
      fresh.destroy();
    }
  }

  /** Whether somebody listens there. A server that is too busy to answer in time does. */
  accepts({ host, port }: Upstream): Promise<boolean> {
    return new Promise((resolve) => {
      const socket = connect({ host, port });
      const finish = (isListening: boolean) => {
        timer[Symbol.dispose]();
        socket.destroy();
        resolve(isListening);
      };
      const timer = this.#clock.after(ACCEPT_TIMEOUT_MS, () => finish(true));
      socket.once('connect', () => finish(true)).once('error', () => finish(false));
    });
  }

  /** Resolves with the answer's head, or with why there is none. Never rejects. */
  ask(upstream: Upstream, asked: UpstreamRequest): Promise<Answer | NoAnswer> {
    const agents = this.#agents[upstream.isTls ? 'https' : 'http'];
    // What may not be sent twice goes over a connection of its own, which no server is about to close.
    const agent = isIdempotent(asked.method) ? agents.kept : agents.fresh;
    const send = upstream.isTls ? httpsRequest : httpRequest;
    const { host, port } = upstream;
    const { method, path, headers, client } = asked;
    return new Promise((resolve) => {
      const outgoing = send({ host, port, agent, method, path, headers, setHost: false });
      // Also after the answer, when there is nothing left to destroy.
      client.once('close', () => outgoing.destroy());
      let wasSent = false;
      let timedOut = false;
      let bytes = () => 0;
      outgoing.once('socket', (socket: Socket) => {
        const before = socket.bytesRead + socket.bytesWritten;
        bytes = () => socket.bytesRead + socket.bytesWritten - before;
        // Nothing is taken out of the body before there is a server to take it.
        const sendBody = () => {
          wasSent = true;
          // A body that breaks off on the way in or out shows as the error of `outgoing`, which is handled below.
          asked.body.sendTo(outgoing).catch(() => outgoing.destroy());
        };
        if (socket.connecting) socket.once(upstream.isTls ? 'secureConnect' : 'connect', sendBody);
        else sendBody();
      });
      const timer = this.#clock.after(asked.firstByteTimeoutMs, () => {
        timedOut = true;
        outgoing.destroy();
      });
      outgoing.once('response', (message: IncomingMessage) => {
        timer[Symbol.dispose]();
        message.setTimeout(BODY_IDLE_TIMEOUT_MS, () => message.destroy(new Error('upstream fell silent')));
        resolve({ kind: 'answer', message, bytes });
      });
      outgoing.on('error', (error) => {
        timer[Symbol.dispose]();
        const code = systemCode(error);
        const wasRefused = !wasSent && !timedOut;
        resolve({
          kind: 'none',
          reason: timedOut ? 'timeout' : wasRefused ? 'refused' : 'broken',
          wasSent,
          wasStale: outgoing.reusedSocket && !timedOut && (code === 'ECONNRESET' || code === 'EPIPE'),
          bytes: bytes(),
        });
      });
    });
  }
}
