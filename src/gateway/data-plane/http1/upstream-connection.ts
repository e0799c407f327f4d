import type { Socket } from 'node:net';
import { hasCode } from '../../../base/index.ts';
import type { UpstreamEvents, UpstreamFailure, UpstreamRequest, UpstreamStream } from '../upstream.ts';
import { ChunkedReader } from './chunked-body.ts';
import { CHUNKED, UNTIL_CLOSE } from './message-length.ts';
import { parseResponseHead, type ResponseHead } from './response-head.ts';

const NO_OCTETS = Buffer.alloc(0);
/** 1xx heads before an answer. */
const INTERIM_LIMIT = 16;

/** What becomes of a connection whose request is over. */
export interface ConnectionOwner {
  /** It can take the next request. */
  onReusable(connection: Http1UpstreamConnection): void;
  onClosed(connection: Http1UpstreamConnection): void;
}

type Part = 'idle' | 'head' | 'length' | 'chunked' | 'until-close' | 'tunnel' | 'closed';

/** A connection to a server over HTTP/1.1: one request after the other. */
export class Http1UpstreamConnection implements UpstreamStream {
  readonly #owner: ConnectionOwner;
  readonly #socket: Socket;
  #events: UpstreamEvents | undefined;
  #part: Part = 'idle';
  #method = '';
  #isChunkedRequest = false;
  /** The request's body is on its way still. */
  #isSending = false;
  #isConnected: boolean;
  #isForbidden = false;
  #wasUsed = false;
  #hasAnswered = false;
  #interims = 0;
  #left = 0;
  #chunks: ChunkedReader | undefined;
  #keeps = false;
  #isPaused = false;
  #afterDrain: 'reuse' | 'close' | undefined;
  #mayUpgrade = false;
  #onConnected: (() => void) | undefined;
  #unread = NO_OCTETS;
  /** When it was last given back, on the monotonic clock. */
  idleSinceMs = 0;

  /**
   * @param socket hands the octets that come in to `onOctets`.
   * @param isConnected whether it is connected already.
   */
  constructor(owner: ConnectionOwner, socket: Socket, isConnected: boolean) {
    this.#owner = owner;
    this.#socket = socket;
    this.#isConnected = isConnected;
    socket.on('end', () => this.#onEnd());
    // What it means is decided when it is closed, right after.
    socket.on('error', (error) => {
      this.#isForbidden = hasCode(error, 'address_forbidden');
    });
    socket.on('close', () => this.#onClose());
    socket.on('drain', () => this.#events?.onUpstreamDrain());
  }

  /** Sends a request, or has it sent as soon as the server is reached. */
  start(request: UpstreamRequest, events: UpstreamEvents): void {
    this.#events = events;
    this.#part = 'head';
    this.#method = request.method;
    this.#mayUpgrade = request.isWebSocket;
    this.#isChunkedRequest = request.bodyLength === CHUNKED;
    this.#isSending = request.bodyLength !== 0 && request.body === undefined;
    this.#hasAnswered = false;
    this.#interims = 0;
    if (this.#isConnected) this.#send(request);
    else this.#onConnected = () => this.#send(request);
  }

  connected(): void {
    this.#isConnected = true;
    this.#onConnected?.();
    this.#onConnected = undefined;
  }

  /** The socket turned out to speak another version of HTTP, and is somebody else's from now on. */
  handOver(): void {
    this.#events = undefined;
    this.#part = 'closed';
    this.#owner.onClosed(this);
  }

  /** Octets to and from a server that is not asked anything: CONNECT. */
  startTunnel(events: UpstreamEvents): void {
    this.#events = events;
    this.#part = 'tunnel';
    this.#isSending = true;
    if (this.#isConnected) events.onUpstreamReady();
    else this.#onConnected = () => events.onUpstreamReady();
  }

  #send({ method, path, host, fields, bodyLength, body, isWebSocket }: UpstreamRequest): void {
    let framing = '';
    if (bodyLength === CHUNKED) framing = 'Transfer-Encoding: chunked\r\n';
    else if (bodyLength > 0 || wantsLength(method)) framing = `Content-Length: ${bodyLength}\r\n`;
    else if (isWebSocket) framing = 'Connection: Upgrade\r\nUpgrade: websocket\r\n';
    const head = `${method} ${path} HTTP/1.1\r\nHost: ${host}\r\n${fields}${framing}\r\n`;
    if (body === undefined) this.#write(head);
    else this.#write(Buffer.concat([Buffer.from(head, 'latin1'), body]));
    this.#events?.onUpstreamReady();
  }

  #write(octets: Buffer | string): boolean {
    this.#events?.onTraffic(octets.length);
    return typeof octets === 'string' ? this.#socket.write(octets, 'latin1') : this.#socket.write(octets);
  }

  data(octets: Buffer): boolean {
    // What comes in is read into one buffer for all clients: what a socket may keep for a while has to be copied.
    if (!this.#isChunkedRequest || this.#part === 'tunnel') return this.#write(Buffer.from(octets));
    const size = `${octets.length.toString(16)}\r\n`;
    return this.#write(Buffer.concat([Buffer.from(size, 'latin1'), octets, CRLF]));
  }

  end(trailers: string): void {
    if (this.#part === 'tunnel') {
      this.#socket.end();
      return;
    }
    if (this.#isChunkedRequest) this.#write(`0\r\n${trailers}\r\n`);
    this.#isSending = false;
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    const after = this.#afterDrain;
    this.#afterDrain = undefined;
    if (after === 'close') this.#socket.destroy();
    else if (after === 'reuse') this.#owner.onReusable(this);
    this.#socket.resume();
  }

  abandon(): void {
    this.#events = undefined;
    this.#socket.destroy();
  }

  /** Takes what the server sends. False: no more until `resume` of the socket. */
  onOctets(octets: Buffer): boolean {
    const events = this.#events;
    if (!events || this.#part === 'idle' || this.#part === 'closed') {
      // Octets that nobody asked for would be taken for the next answer.
      this.#socket.destroy();
      return false;
    }
    events.onTraffic(octets.length);
    let rest: Buffer | undefined = octets;
    if (this.#part === 'head') rest = this.#readHeads(events, octets);
    if (rest !== undefined && this.#events === events) this.#readBody(events, rest);
    if (this.#events === events) events.onPause();
    return !this.#isPaused;
  }

  /** Reads up to the answer's own head. Returns what stands behind it, `undefined` when it is not here yet. */
  #readHeads(events: UpstreamEvents, octets: Buffer): Buffer | undefined {
    let unread = this.#unread.length > 0 ? Buffer.concat([this.#unread, octets]) : octets;
    this.#unread = NO_OCTETS;
    for (;;) {
      const head = parseResponseHead(unread, this.#method);
      if (head === undefined) {
        this.#unread = Buffer.from(unread);
        return undefined;
      }
      if (typeof head === 'string' || !this.#accepts(head)) {
        this.#fail();
        return undefined;
      }
      unread = unread.subarray(head.end);
      this.#hasAnswered = true;
      if (head.status >= 200 || head.status === 101) {
        this.#begin(events, head);
        return unread;
      }
      // 100: the expectation was answered at this gateway, and is not passed on.
      if (head.status !== 100) events.onInterim(head);
      if (unread.length === 0) return undefined;
    }
  }

  #accepts(head: ResponseHead): boolean {
    if (head.status === 101) return this.#mayUpgrade && head.upgrade === 'websocket';
    if (head.status >= 200) return true;
    this.#interims += 1;
    return this.#interims <= INTERIM_LIMIT;
  }

  #begin(events: UpstreamEvents, head: ResponseHead): void {
    this.#keeps = head.keepsConnection && !this.#mayUpgrade;
    if (head.status === 101) this.#part = 'tunnel';
    else if (!head.hasBody) this.#part = 'length';
    else if (head.bodyLength === CHUNKED) {
      this.#part = 'chunked';
      this.#chunks = new ChunkedReader();
    } else if (head.bodyLength === UNTIL_CLOSE) this.#part = 'until-close';
    else this.#part = 'length';
    this.#left = head.hasBody ? head.bodyLength : 0;
    events.onHead(head);
  }

  #readBody(events: UpstreamEvents, octets: Buffer): void {
    switch (this.#part) {
      case 'length': {
        const count = Math.min(this.#left, octets.length);
        this.#left -= count;
        if (count > 0) this.#tell(events, count === octets.length ? octets : octets.subarray(0, count));
        if (this.#left === 0) this.#finish('', octets.length > count);
        return;
      }
      case 'chunked': {
        if (octets.length === 0) return;
        const chunks = this.#chunks as ChunkedReader;
        const count = chunks.read(octets, { onData: (data) => this.#tell(events, data) });
        if (count < 0) this.#fail();
        else if (chunks.isOver) this.#finish(chunks.trailers, octets.length > count);
        return;
      }
      default:
        if (octets.length > 0) this.#tell(events, octets);
    }
  }

  #tell(events: UpstreamEvents, octets: Buffer): void {
    if (this.#events !== events || events.onData(octets)) return;
    this.#isPaused = true;
  }

  /** The answer is whole. */
  #finish(trailers: string, hasMore: boolean): void {
    const events = this.#events;
    if (!events) return;
    this.#events = undefined;
    this.#wasUsed = true;
    this.#chunks = undefined;
    // A server that answers before it has the whole request has not read the rest; one that sends more than it said is not to
    // be believed about the next answer.
    const isReusable = this.#keeps && !this.#isSending && !hasMore;
    this.#part = 'idle';
    // Octets of this answer may still be on their way out of the buffer that the next would be read into.
    if (this.#isPaused) this.#afterDrain = isReusable ? 'reuse' : 'close';
    else if (isReusable) this.#owner.onReusable(this);
    else this.#socket.destroy();
    events.onEnd(trailers);
  }

  #onEnd(): void {
    if (this.#part === 'until-close' || this.#part === 'tunnel') {
      this.#keeps = false;
      this.#finish('', false);
    }
  }

  #onClose(): void {
    if (this.#part !== 'closed') this.#fail();
  }

  #fail(): void {
    const events = this.#events;
    const wasSent = this.#isConnected;
    const failure: UpstreamFailure = {
      reason: this.#isForbidden ? 'forbidden' : wasSent ? 'broken' : 'refused',
      wasSent,
      wasStale: this.#wasUsed && !this.#hasAnswered && this.#unread.length === 0,
    };
    this.#events = undefined;
    this.#part = 'closed';
    this.#socket.destroy();
    this.#owner.onClosed(this);
    events?.onFailure(failure);
  }
}

const CRLF = Buffer.from('\r\n');

/** Methods whose requests say that they have no body (RFC 9110 §8.6). */
const wantsLength = (method: string): boolean => method === 'POST' || method === 'PUT' || method === 'PATCH';
