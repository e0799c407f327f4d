import { createServer, type Server, type Socket } from 'node:net';
import { readRequest, type StrictMessage } from './strict-http.ts';

export interface ReceivedRequest extends StrictMessage {
  readonly method: string;
  readonly target: string;
  /** Counts the connections of this origin, from 0. */
  readonly connection: number;
}

/** Answers a request on the connection that it came on. */
export type AnswerRequest = (request: ReceivedRequest, socket: Socket) => void;

interface ConnectionState {
  readonly connection: number;
  /** A request has begun and not ended. */
  isPartial: boolean;
  take: ((octets: string) => void) | undefined;
}

/** An origin of raw sockets that reads what it gets as strictly as can be, and keeps it. */
export class RecordingOrigin implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Map<Socket, ConnectionState>();
  #connections = 0;
  #onChange: (() => void)[] = [];
  /** Whole requests, in the order in which they were complete. */
  readonly requests: ReceivedRequest[] = [];
  /** What could be read in two ways, or not at all. Nothing of it may ever come from a gateway. */
  readonly faults: string[] = [];
  answer: AnswerRequest = answerTarget;
  /** Called for every new connection, with its number. */
  greet: ((socket: Socket, connection: number) => void) | undefined;
  /** Called whenever more of a request has come, and not all of it. */
  onPartial: ((socket: Socket) => void) | undefined;

  private constructor() {
    this.#server = createServer((socket) => this.#receive(socket));
  }

  static async start(): Promise<RecordingOrigin> {
    const origin = new RecordingOrigin();
    await new Promise<void>((resolve) => origin.#server.listen(0, '127.0.0.1', resolve));
    return origin;
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port;
  }

  get openConnections(): number {
    return this.#sockets.size;
  }

  /** Whether the connection with this number is open. */
  isOpen(connection: number | undefined): boolean {
    return [...this.#sockets.values()].some((state) => state.connection === connection);
  }

  /** Resolves when `isSo`, which is looked at whenever something has arrived or ended. */
  async until(isSo: () => boolean): Promise<void> {
    while (!isSo()) await new Promise<void>((resolve) => this.#onChange.push(resolve));
  }

  /** Resolves when no connection is left on which a request has begun and not ended. */
  untilNothingPartial(): Promise<void> {
    return this.until(() => ![...this.#sockets.values()].some(({ isPartial }) => isPartial));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets.keys()) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** From now on this connection speaks no HTTP: what comes is given to `take`. */
  tunnel(socket: Socket, take: (octets: string) => void): void {
    const state = this.#sockets.get(socket);
    if (state) state.take = take;
  }

  #receive(socket: Socket): void {
    const connection = this.#connections;
    this.#connections += 1;
    const state: ConnectionState = { connection, isPartial: false, take: undefined };
    this.#sockets.set(socket, state);
    let octets = '';
    this.greet?.(socket, connection);
    socket.setEncoding('latin1').setNoDelay(true);
    socket.on('data', (more: string) => {
      if (state.take) {
        state.take(more);
        this.#changed();
        return;
      }
      octets += more;
      for (;;) {
        const reading = octets === '' ? { kind: 'partial' as const } : readRequest(octets);
        if (reading.kind === 'fault') {
          this.faults.push(`${reading.reason} in ${JSON.stringify(octets.slice(0, 500))}`);
          octets = '';
          socket.destroy();
        }
        if (reading.kind !== 'whole') break;
        octets = octets.slice(reading.sizeOctets);
        const [method = '', target = ''] = reading.message.startLine.split(' ');
        const request = { ...reading.message, method, target, connection };
        this.requests.push(request);
        this.answer(request, socket);
      }
      state.isPartial = octets !== '';
      if (state.isPartial) this.onPartial?.(socket);
      this.#changed();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#sockets.delete(socket);
      this.#changed();
    });
  }

  #changed(): void {
    for (const wake of this.#onChange.splice(0)) wake();
  }
}

/** A short answer that names what was asked for. */
export const answerTarget: AnswerRequest = ({ method, target }, socket) => {
  const body = `${method} ${target}\n`;
  socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${method === 'HEAD' ? '' : body}`);
};
