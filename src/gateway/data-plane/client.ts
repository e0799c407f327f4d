/**
 * A client's request and the way back to it, whichever version of HTTP it speaks.
 * @module
 */
import type { ResponseHead } from './http1/response-head.ts';

/** A request as it came in. */
export interface ClientRequest {
  readonly method: string;
  /** The target as the client wrote it: a path, or a URL. */
  readonly target: string;
  /** `Host`, or `:authority`. */
  readonly host: string | undefined;
  /** The fields that are passed on, each with its CR LF. */
  readonly kept: string;
  /** In octets, 0 for none, or `CHUNKED` when it is not told. */
  readonly bodyLength: number;
  readonly isWebSocket: boolean;
}

/** The head of an answer to a client. */
export interface AnswerHead
  extends Pick<ResponseHead, 'status' | 'reason' | 'kept' | 'bodyLength' | 'hasBody'> {
  /** What the client sends behind its request is not taken for another one. */
  readonly isLast?: boolean;
}

/** The way back for one request. Each answer is `begin`, any number of `data`, `end`; or it is cut off by `abort`. */
export interface ClientStream {
  readonly address: string;
  readonly scheme: 'http' | 'https';
  /** `HTTP/1.1`, as access logs write it. */
  readonly protocol: string;
  /** More of the request's body is wanted. */
  wantBody(): void;
  interim(head: ResponseHead): void;
  /** @param servedBy `Orilla-Served-By`; not said when absent. */
  begin(head: AnswerHead, servedBy: string | undefined): void;
  /** True when the octets are not needed any more; false: they must stay as they are until `onClientDrain`. */
  data(octets: Buffer): boolean;
  /** What was put together so far is sent now. */
  flush(): void;
  end(trailers: string): void;
  /** The answer ends too early and looks so. */
  abort(): void;
  /** From now on octets pass both ways as they are. */
  switchProtocols(head: AnswerHead | undefined, servedBy?: string): void;
}

/** What a client does while its request is served. */
export interface ClientEvents {
  /** Octets of the request's body, valid during the call. False: no more until `wantBody`. */
  onBody(octets: Buffer): boolean;
  onBodyEnd(trailers: string): void;
  onClientDrain(): void;
  /** It went away, or what it sent is not HTTP. */
  onClientGone(reason: string): void;
}
