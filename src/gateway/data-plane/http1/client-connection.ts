import type { Socket } from 'node:net';
import { clientAddress } from '../accepted-socket.ts';
import type { AnswerHead, ClientStream } from '../client.ts';
import {
  BODY_WINDOW_BYTES,
  BODY_WINDOW_MS,
  IDLE_TIMEOUT_MS,
  LINGER_MS,
  WRITE_TIMEOUT_MS,
} from '../client-timeouts.ts';
import type { Reception } from '../reception.ts';
import type { Visit } from '../visit.ts';
import { AnswerWriter, type WriterOwner } from './answer-writer.ts';
import { ChunkedReader } from './chunked-body.ts';
import { CHUNKED } from './message-length.ts';
import { parseRequestHead, type Refusal, type RequestHead } from './request-head.ts';
import type { ResponseHead } from './response-head.ts';

const NO_OCTETS = Buffer.alloc(0);
const NEVER = Number.POSITIVE_INFINITY;

type Deadline = 'idle' | 'head' | 'body' | 'write' | 'linger';
type Input = 'head' | 'length' | 'chunked' | 'answer' | 'tunnel' | 'linger';

export interface ClientConnectionOwner {
  onClosed(connection: Http1ClientConnection): void;
}

/** A client's connection over HTTP/1.1: reads one request after the other and writes their answers, in order. */
export class Http1ClientConnection implements ClientStream, WriterOwner {
  readonly address: string;
  readonly scheme: 'http' | 'https';
  readonly #plane: Reception;
  readonly #socket: Socket;
  readonly #owner: ClientConnectionOwner;
  #input: Input = 'head';
  #visit: Visit | undefined;
  #request: RequestHead | undefined;
  #unread = NO_OCTETS;
  #isReading = false;
  /** Nothing is taken in until the server, or the answer before, is done. */
  #isHeldBack = false;
  #left = 0;
  #chunks: ChunkedReader | undefined;
  #awaitsContinue = false;
  #windowBytes = 0;

  readonly #writer: AnswerWriter;
  #keeps = true;
  /** Its answer is over, but not yet out. */
  #lastVisit: Visit | undefined;
  /** When this connection is given up, and what for. */
  #deadlineMs: number;
  #deadlineKind: Deadline = 'idle';

  constructor(plane: Reception, socket: Socket, owner: ClientConnectionOwner, scheme: 'http' | 'https') {
    this.#plane = plane;
    this.#socket = socket;
    this.#owner = owner;
    this.#writer = new AnswerWriter(socket, this);
    this.scheme = scheme;
    this.address = clientAddress(socket);
    this.#deadlineMs = plane.clock.monotonicMs() + IDLE_TIMEOUT_MS;
    socket.on('error', () => undefined);
    socket.on('end', () => this.#onEnd());
    socket.on('close', () => this.#onClose());
  }

  get protocol(): string {
    return this.#request?.isHttp10 ? 'HTTP/1.0' : 'HTTP/1.1';
  }

  /** No further request: ends at once when none is under way, else with its answer. */
  close(): void {
    this.#keeps = false;
    if (this.#input === 'head' && this.#unread.length === 0) this.#socket.destroy();
    // A WebSocket may last for days, and its client knows how to come back.
    if (this.#input === 'tunnel') this.#socket.destroy();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** Ends what takes too long. Called now and then. */
  check(nowMs: number): void {
    if (nowMs >= this.#deadlineMs) this.#onDeadline();
    else if (this.#visit && nowMs >= this.#visit.deadlineMs) this.#visit.onDeadline();
  }

  #onDeadline(): void {
    this.#deadlineMs = NEVER;
    const isDripping = this.#input === 'length' || this.#input === 'chunked';
    if (isDripping && this.#windowBytes >= BODY_WINDOW_BYTES) {
      this.#awaitBody();
      return;
    }
    const wasInHead = this.#input === 'head' && this.#unread.length > 0;
    if (wasInHead) this.#refuse(408, 'Request Timeout', 'the head of the request did not come in time');
    else this.#socket.destroy();
  }

  // Reading

  /** Takes what the client sends; the octets are valid during the call. False: no more until the socket is resumed. */
  onOctets(octets: Buffer): boolean {
    if (this.#input === 'tunnel') return this.#tunnel(octets);
    if (this.#input === 'linger') return true;
    const unread = this.#unread.length > 0 ? Buffer.concat([this.#unread, octets]) : octets;
    this.#unread = NO_OCTETS;
    this.#read(unread);
    return !this.#isHeldBack;
  }

  /** Reads as far as it may; what it may not is kept. */
  #read(octets: Buffer): void {
    let at = 0;
    this.#isReading = true;
    this.#isHeldBack = false;
    while (at < octets.length && !this.#isHeldBack && !this.#socket.destroyed) {
      const rest = at === 0 ? octets : octets.subarray(at);
      const count = this.#readSome(rest);
      if (count === 0) break;
      at += count;
    }
    this.#isReading = false;
    if (at < octets.length && this.#input !== 'linger') {
      const rest = octets.subarray(at);
      if (this.#input === 'tunnel') this.#isHeldBack = !this.#tunnel(rest);
      else this.#unread = Buffer.from(rest);
    }
  }

  /** @returns how many octets were read; 0 when there are too few, or it may not read on. */
  #readSome(octets: Buffer): number {
    switch (this.#input) {
      case 'head':
        return this.#readHead(octets);
      case 'length':
      case 'chunked':
        return this.#readBody(octets);
      case 'answer':
        // Pipelined requests wait for the answer before them.
        this.#isHeldBack = true;
        return 0;
      default:
        return 0;
    }
  }

  #readHead(octets: Buffer): number {
    const head = parseRequestHead(octets);
    if (head === undefined) {
      // The first octets of a head set its deadline, and the later ones do not move it.
      if (this.#deadlineKind !== 'head') this.#setDeadline('head', this.#plane.headTimeoutMs);
      return 0;
    }
    if (head.kind === 'refusal') {
      this.#refuse(head.status, REASONS[head.status], head.reason);
      return octets.length;
    }
    this.#begin(head);
    return head.end;
  }

  #setDeadline(kind: Deadline, durationMs: number): void {
    this.#deadlineKind = kind;
    this.#deadlineMs = this.#plane.clock.monotonicMs() + durationMs;
  }

  #begin(head: RequestHead): void {
    this.#deadlineKind = 'idle';
    this.#deadlineMs = NEVER;
    this.#request = head;
    // A server that would not switch to WebSocket may be followed by octets that are none of HTTP.
    this.#keeps = head.keepsConnection && !head.isWebSocket && !this.#plane.isClosing;
    this.#awaitsContinue = head.expectsContinue && head.bodyLength !== 0;
    this.#left = head.bodyLength;
    if (head.bodyLength === 0) this.#input = 'answer';
    else if (head.bodyLength === CHUNKED) {
      this.#input = 'chunked';
      this.#chunks = new ChunkedReader();
    } else this.#input = 'length';
    // A body is taken in when somebody wants it.
    this.#isHeldBack = head.bodyLength !== 0;
    const visit = this.#plane.receive(this, head);
    this.#visit = visit;
    visit?.start();
  }

  #readBody(octets: Buffer): number {
    const visit = this.#visit;
    if (!visit) return octets.length;
    if (this.#chunks) {
      let takesMore = true;
      const count = this.#chunks.read(octets, {
        onData: (data) => {
          this.#windowBytes += data.length;
          takesMore = visit.onBody(data) && takesMore;
        },
      });
      if (count < 0) {
        this.#breakOff('what the client sent as a chunked body is not one');
        return octets.length;
      }
      if (this.#chunks.isOver) this.#endBody(visit, this.#chunks.trailers);
      else if (!takesMore) this.#holdBack();
      return count;
    }
    const count = Math.min(this.#left, octets.length);
    this.#left -= count;
    this.#windowBytes += count;
    const takesMore = visit.onBody(count === octets.length ? octets : octets.subarray(0, count));
    if (this.#left === 0) this.#endBody(visit, '');
    else if (!takesMore) this.#holdBack();
    return count;
  }

  #holdBack(): void {
    this.#isHeldBack = true;
    this.#deadlineMs = NEVER;
  }

  #endBody(visit: Visit, trailers: string): void {
    this.#chunks = undefined;
    this.#input = 'answer';
    this.#deadlineMs = NEVER;
    visit.onBodyEnd(trailers);
  }

  #tunnel(octets: Buffer): boolean {
    return this.#visit?.onBody(octets) ?? true;
  }

  /** What was kept is read, and then what comes. */
  #readOn(): void {
    if (this.#isReading) {
      this.#isHeldBack = false;
      return;
    }
    const unread = this.#unread;
    this.#unread = NO_OCTETS;
    this.#isHeldBack = false;
    if (unread.length > 0) this.#read(unread);
    if (!this.#isHeldBack && !this.#socket.destroyed) this.#socket.resume();
  }

  #onEnd(): void {
    if (this.#input === 'tunnel') {
      this.#visit?.onBodyEnd('');
      return;
    }
    this.#socket.destroy();
  }

  #onClose(): void {
    const visit = this.#visit;
    this.#visit = undefined;
    visit?.onClientGone('client broke off');
    this.#lastVisit?.onClientGone('client broke off');
    this.#lastVisit = undefined;
    this.#owner.onClosed(this);
  }

  #breakOff(reason: string): void {
    const visit = this.#visit;
    this.#visit = undefined;
    if (!this.#writer.isWithin) this.#refuse(400, 'Bad Request', reason);
    else this.#socket.destroy();
    visit?.onClientGone(reason);
  }

  // Writing

  wantBody(): void {
    if (this.#awaitsContinue) {
      this.#awaitsContinue = false;
      this.#socket.write('HTTP/1.1 100 Continue\r\n\r\n', 'latin1');
    }
    if (this.#input === 'length' || this.#input === 'chunked') this.#awaitBody();
    this.#readOn();
  }

  #awaitBody(): void {
    this.#windowBytes = 0;
    this.#setDeadline('body', BODY_WINDOW_MS);
  }

  interim({ status, reason, kept }: ResponseHead): void {
    if (!this.#request?.isHttp10) this.#socket.write(`HTTP/1.1 ${status} ${reason}\r\n${kept}\r\n`, 'latin1');
  }

  begin(head: AnswerHead, servedBy: string | undefined): void {
    // What is still to come of the request would be read over: rather a new connection than an upload for nobody.
    const mayKeep = this.#keeps && !head.isLast && this.#input === 'answer' && !this.#plane.isClosing;
    this.#keeps = this.#writer.begin(head, servedBy, this.#request?.isHttp10 ?? false, mayKeep);
  }

  switchProtocols(head: AnswerHead | undefined, servedBy?: string): void {
    this.#input = 'tunnel';
    this.#keeps = false;
    this.#writer.switchProtocols(head, servedBy);
    const unread = this.#unread;
    this.#unread = NO_OCTETS;
    if (unread.length > 0) this.#tunnel(unread);
    if (!this.#isReading) this.#socket.resume();
    this.#isHeldBack = false;
  }

  data(octets: Buffer): boolean {
    return this.#writer.data(octets);
  }

  flush(): void {
    this.#writer.flush();
  }

  onBlocked(): void {
    this.#setDeadline('write', WRITE_TIMEOUT_MS);
  }

  onDrained(): void {
    if (this.#deadlineKind === 'write') this.#deadlineMs = NEVER;
    this.#visit?.onClientDrain();
    this.#lastVisit?.onClientDrain();
    this.#lastVisit = undefined;
    if (!this.#visit && this.#input === 'head') this.#setDeadline('idle', IDLE_TIMEOUT_MS);
  }

  end(trailers: string): void {
    this.#writer.end(trailers);
    const { isDraining } = this.#writer;
    if (isDraining) this.#lastVisit = this.#visit;
    this.#visit = undefined;
    if (!this.#keeps || this.#plane.isClosing) {
      this.#endConnection();
      return;
    }
    this.#input = 'head';
    this.#request = undefined;
    if (!isDraining) this.#setDeadline('idle', IDLE_TIMEOUT_MS);
    if (this.#unread.length > 0 || this.#isHeldBack) this.#readOn();
  }

  /** Lets the client see the answer: a connection that ends with octets unread is reset, and takes the answer with it. */
  #endConnection(): void {
    this.#input = 'linger';
    this.#unread = NO_OCTETS;
    this.#isHeldBack = false;
    this.#socket.end();
    this.#setDeadline('linger', this.#writer.isDraining ? WRITE_TIMEOUT_MS : LINGER_MS);
    this.#socket.resume();
  }

  abort(): void {
    this.#visit = undefined;
    // Where nothing but the end of the connection ends the body, an orderly end would make it look whole.
    if (this.#writer.endsWithConnection && this.scheme === 'http') this.#socket.resetAndDestroy();
    else this.#socket.destroy();
  }

  /** A refusal before anybody was asked: the connection ends behind it, as nobody knows where the next request begins. */
  #refuse(status: number, reason: string, message: string): void {
    const body = `${message}\n`;
    this.#plane.observeRefusal(status, message, this);
    this.#socket.write(
      `HTTP/1.1 ${status} ${reason}\r\nContent-Type: text/plain; charset=utf-8\r\n` +
        `Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
      'latin1',
    );
    this.#endConnection();
  }
}

const REASONS: Readonly<Record<Refusal['status'], string>> = {
  400: 'Bad Request',
  414: 'URI Too Long',
  417: 'Expectation Failed',
  431: 'Request Header Fields Too Large',
  501: 'Not Implemented',
  505: 'HTTP Version Not Supported',
};
