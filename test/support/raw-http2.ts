/**
 * HTTP/2 written by hand (RFC 9113 §4), for what no library would send. Frames are octets; fields are HPACK literals without
 * Huffman code and without the tables (RFC 7541 §6.2.2), so a name or value may hold anything.
 * @module
 */
import { connect, type TLSSocket } from 'node:tls';

export const TYPE = {
  data: 0,
  headers: 1,
  reset: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  window: 8,
  continuation: 9,
} as const;
export const END_STREAM = 1;
export const END_HEADERS = 4;

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export type Field = readonly [name: string, value: string];

export function frame(
  type: number,
  flags: number,
  stream: number,
  payload: Buffer = Buffer.alloc(0),
): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

export const fieldBlock = (fields: readonly Field[]): Buffer =>
  Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), literal(name), literal(value)]));

function literal(text: string): Buffer {
  const octets = Buffer.from(text, 'latin1');
  if (octets.length < 127) return Buffer.concat([Buffer.from([octets.length]), octets]);
  const size: number[] = [127];
  let rest = octets.length - 127;
  for (; rest >= 128; rest = Math.floor(rest / 128)) size.push((rest % 128) + 128);
  return Buffer.concat([Buffer.from([...size, rest]), octets]);
}

const FRAME_LIMIT = 16 * 1024;

/** A whole header section. */
export function headers(stream: number, fields: readonly Field[], flags = END_STREAM): Buffer {
  const block = fieldBlock(fields);
  const frames: Buffer[] = [];
  for (let at = 0; at === 0 || at < block.length; at += FRAME_LIMIT) {
    const end = at + FRAME_LIMIT >= block.length ? END_HEADERS : 0;
    const [type, first] = at === 0 ? [TYPE.headers, flags] : [TYPE.continuation, 0];
    frames.push(frame(type, first | end, stream, block.subarray(at, at + FRAME_LIMIT)));
  }
  return Buffer.concat(frames);
}

export const data = (stream: number, text: string, flags = 0): Buffer =>
  frame(TYPE.data, flags, stream, Buffer.from(text, 'latin1'));

export function reset(stream: number, code: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(code);
  return frame(TYPE.reset, 0, stream, payload);
}

/** A client's connection of HTTP/2 over TLS; its preface and settings are sent. */
export class RawHttp2 implements AsyncDisposable {
  readonly #socket: TLSSocket;
  #unread = Buffer.alloc(0);
  #onChange: (() => void)[] = [];
  readonly frames: Frame[] = [];
  isClosed = false;
  /** The server takes nothing more. */
  isEnded = false;

  private constructor(socket: TLSSocket) {
    this.#socket = socket;
    socket.on('data', (octets: Buffer) => this.#receive(octets));
    socket.on('error', () => {
      this.isEnded = true;
    });
    socket.on('close', () => {
      this.isClosed = true;
      this.#changed();
    });
  }

  static async connect(port: number, servername: string): Promise<RawHttp2> {
    const socket = connect({
      host: '127.0.0.1',
      port,
      servername,
      ALPNProtocols: ['h2'],
      rejectUnauthorized: false,
    });
    const raw = new RawHttp2(socket);
    await new Promise<void>((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
    raw.send(Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(TYPE.settings, 0, 0));
    return raw;
  }

  send(...frames: readonly Buffer[]): void {
    this.#socket.write(Buffer.concat(frames));
  }

  /** Takes nothing more from the server. */
  pause(): void {
    this.#socket.pause();
  }

  /** Resolves when `isSo`, which is looked at whenever frames have come, or the connection has ended. */
  async until(isSo: (frames: readonly Frame[]) => boolean): Promise<void> {
    while (!isSo(this.frames) && !this.isClosed) {
      await new Promise<void>((resolve) => this.#onChange.push(resolve));
    }
  }

  /** What has come on a stream. */
  on(stream: number): readonly Frame[] {
    return this.frames.filter((each) => each.stream === stream);
  }

  /** Resolves when a stream has ended, with the error that ended it; 0 when it ended as it should, -1 with its connection. */
  async outcome(stream: number): Promise<number> {
    const isEnd = ({ type, flags }: Frame) =>
      type === TYPE.reset || ((type === TYPE.data || type === TYPE.headers) && (flags & END_STREAM) !== 0);
    await this.until(() => this.on(stream).some(isEnd));
    const last = this.on(stream).find(isEnd);
    if (!last) return -1;
    return last.type === TYPE.reset ? last.payload.readUInt32BE() : 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.destroy();
  }

  #receive(octets: Buffer): void {
    this.#unread = Buffer.concat([this.#unread, octets]);
    while (this.#unread.length >= 9) {
      const end = 9 + this.#unread.readUIntBE(0, 3);
      if (this.#unread.length < end) break;
      const [type = 0, flags = 0] = this.#unread.subarray(3, 5);
      const stream = this.#unread.readUInt32BE(5);
      this.frames.push({ type, flags, stream, payload: this.#unread.subarray(9, end) });
      if (type === TYPE.settings && flags === 0) this.send(frame(TYPE.settings, 1, 0));
      this.#unread = this.#unread.subarray(end);
    }
    this.#changed();
  }

  #changed(): void {
    for (const wake of this.#onChange.splice(0)) wake();
  }
}
