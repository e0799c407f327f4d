/**
 * Asking a server: what goes there and what comes back, whichever version of HTTP it speaks.
 * @module
 */
import type { ResponseHead } from './http1/response-head.ts';

/** What is asked of an upstream. */
export interface UpstreamRequest {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  /** What is sent as `Host`. */
  readonly host: string;
  /** All other fields, each with its CR LF, but those that frame the message or speak of the connection. */
  readonly fields: string;
  /** In octets, 0 for no body, or `CHUNKED`. */
  readonly bodyLength: number;
  /** The whole body where it is here already; a body that is not is sent with `data` and `end`. */
  readonly body: Buffer | undefined;
  readonly isWebSocket: boolean;
}

/** A request on its way over a connection to an upstream. */
export interface UpstreamStream {
  /** Sends more of the body; a copy is kept. False: hold back until `onUpstreamDrain`. */
  data(octets: Buffer): boolean;
  /** The body is over. */
  end(trailers: string): void;
  /** Goes on with the answer after `onData` said false. */
  resume(): void;
  /** Nobody waits for the answer any more. No event follows. */
  abandon(): void;
}

/** Why no answer came, or no whole one. */
export interface UpstreamFailure {
  readonly reason: 'refused' | 'timeout' | 'broken' | 'forbidden';
  /** Whether any octet of the request may have reached the server. */
  readonly wasSent: boolean;
  /** The server had closed a connection that was kept open: says nothing about its health. */
  readonly wasStale: boolean;
}

/** What happens to a request. Octets are valid during the call only, unless it says otherwise. */
export interface UpstreamEvents {
  /** The server takes the request: a body that is not whole yet may flow. */
  onUpstreamReady(): void;
  /** More of the body may be sent. */
  onUpstreamDrain(): void;
  /** A head before the answer's: 1xx, but neither 100 nor 101. */
  onInterim(head: ResponseHead): void;
  onHead(head: ResponseHead): void;
  /** False: no more until `resume()`; these octets stay valid until then. */
  onData(octets: Buffer): boolean;
  /** All that the server had sent at once has been told: what was put together from it may go. */
  onPause(): void;
  onEnd(trailers: string): void;
  onFailure(failure: UpstreamFailure): void;
  /** Octets went over the connection for this request, either way. */
  onTraffic(octets: number): void;
}
