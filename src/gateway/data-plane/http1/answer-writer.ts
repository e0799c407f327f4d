import type { Socket } from 'node:net';
import type { AnswerHead } from '../client.ts';
import { CHUNKED } from './message-length.ts';

/** Body octets up to this many are put into one piece with what stands before them. */
const JOIN_LIMIT_BYTES = 16 * 1024;

/** Where heads and small bodies are put together: for all connections, as it is sent before the next is made. */
let scratch = Buffer.allocUnsafeSlow(2 * JOIN_LIMIT_BYTES);

/** What a writer's owner is told. */
export interface WriterOwner {
  /** The client does not take as fast as it is given. */
  onBlocked(): void;
  /** All that was written is out, and its octets are not needed any more. */
  onDrained(): void;
}

/** Writes answers over HTTP/1.1, each framed so that its end is beyond doubt. */
export class AnswerWriter {
  readonly #socket: Socket;
  readonly #owner: WriterOwner;
  /** The beginning of an answer that is not sent yet: its body may come at once, and go out with it. */
  #pending = '';
  #framing: 'length' | 'chunked' | 'close' | undefined;
  #isDraining = false;

  constructor(socket: Socket, owner: WriterOwner) {
    this.#socket = socket;
    this.#owner = owner;
  }

  /** Whether an answer has begun and not ended. */
  get isWithin(): boolean {
    return this.#framing !== undefined;
  }

  get isDraining(): boolean {
    return this.#isDraining;
  }

  /** Nothing but the end of the connection ends the body: an orderly end makes it look whole. */
  get endsWithConnection(): boolean {
    return this.#framing === 'close';
  }

  /** @returns whether the connection may be kept behind the answer. */
  begin(head: AnswerHead, servedBy: string | undefined, isHttp10: boolean, mayKeep: boolean): boolean {
    const { status, reason, kept, bodyLength, hasBody } = head;
    let keeps = mayKeep;
    let framing = '';
    this.#framing = 'length';
    if (bodyLength >= 0) {
      if (status !== 204) framing = `Content-Length: ${bodyLength}\r\n`;
    } else if (!hasBody) {
      if (bodyLength === CHUNKED && status !== 204 && !isHttp10) framing = 'Transfer-Encoding: chunked\r\n';
    } else if (isHttp10) {
      this.#framing = 'close';
      keeps = false;
    } else {
      this.#framing = 'chunked';
      framing = 'Transfer-Encoding: chunked\r\n';
    }
    if (!keeps) framing += 'Connection: close\r\n';
    else if (isHttp10) framing += 'Connection: keep-alive\r\n';
    this.#pending = `HTTP/1.1 ${status} ${reason}\r\n${kept}${framing}${servedByLine(servedBy)}\r\n`;
    return keeps;
  }

  /** The answer to CONNECT, or to the opening handshake of a WebSocket. From now on octets pass as they are. */
  switchProtocols(head: AnswerHead | undefined, servedBy: string | undefined): void {
    this.#framing = 'close';
    const answer = head
      ? `101 ${head.reason}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${head.kept}${servedByLine(servedBy)}`
      : '200 Connection established\r\n';
    this.#socket.write(`HTTP/1.1 ${answer}\r\n`, 'latin1');
  }

  /** True when the octets are not needed any more; false: they must stay as they are until `onDrained`. */
  data(octets: Buffer): boolean {
    const { length } = octets;
    const isChunked = this.#framing === 'chunked';
    const before = isChunked ? `${this.#pending}${length.toString(16)}\r\n` : this.#pending;
    const after = isChunked ? '\r\n' : '';
    this.#pending = '';
    if (before === '') this.#socket.write(octets);
    else if (length <= JOIN_LIMIT_BYTES && before.length <= JOIN_LIMIT_BYTES - 2) {
      this.#writeJoined(before, octets, after);
    } else {
      this.#socket.cork();
      this.#socket.write(before, 'latin1');
      this.#socket.write(octets);
      if (after !== '') this.#socket.write(after, 'latin1');
      this.#socket.uncork();
    }
    return this.#hasDrained();
  }

  /** One piece, one system call. */
  #writeJoined(before: string, octets: Buffer, after: string): void {
    const piece = scratch;
    let end = piece.write(before, 0, 'latin1');
    piece.set(octets, end);
    end += octets.length;
    if (after !== '') end += piece.write(after, end, 'latin1');
    this.#socket.write(piece.subarray(0, end));
    // It is not out yet, and must stay as it is.
    if (this.#socket.writableLength > 0) scratch = Buffer.allocUnsafeSlow(2 * JOIN_LIMIT_BYTES);
  }

  flush(): void {
    if (this.#pending === '') return;
    this.#socket.write(this.#pending, 'latin1');
    this.#pending = '';
    this.#hasDrained();
  }

  end(trailers: string): void {
    const last = this.#framing === 'chunked' ? `${this.#pending}0\r\n${trailers}\r\n` : this.#pending;
    if (last !== '') this.#socket.write(last, 'latin1');
    this.#pending = '';
    this.#framing = undefined;
  }

  #hasDrained(): boolean {
    if (this.#socket.writableLength === 0) return true;
    if (!this.#isDraining) {
      this.#isDraining = true;
      this.#owner.onBlocked();
      // Its turn comes when all before it is out.
      this.#socket.write('', 'latin1', () => this.#onWritten());
    }
    return false;
  }

  #onWritten(): void {
    this.#isDraining = false;
    if (this.#socket.writableLength > 0 && !this.#socket.destroyed) this.#hasDrained();
    else this.#owner.onDrained();
  }
}

const servedByLine = (servedBy: string | undefined): string =>
  servedBy === undefined ? '' : `Orilla-Served-By: ${servedBy}\r\n`;
