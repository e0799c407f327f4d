import { connect, type Socket } from 'node:net';

/** A client's connection, octet for octet. What comes back is kept as Latin-1. */
export class RawConnection implements Disposable {
  readonly #socket: Socket;
  #onChange: (() => void)[] = [];
  #received = '';
  #receivedOctets = 0;
  #isKept = true;
  #hasEnded = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('latin1').setNoDelay(true);
    socket.on('data', (more: string) => {
      this.#receivedOctets += more.length;
      if (this.#isKept) this.#received += more;
      this.#changed();
    });
    // A connection that is reset has ended too.
    socket.on('error', () => undefined);
    for (const event of ['end', 'close']) {
      socket.on(event, () => {
        this.#hasEnded = true;
        this.#changed();
      });
    }
  }

  static open(port: number): Promise<RawConnection> {
    return new Promise((resolve, reject) => {
      // Half a connection is enough to send: the gateway's end does not end ours.
      const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(new RawConnection(socket));
      });
    });
  }

  /** Everything so far. */
  get received(): string {
    return this.#received;
  }

  get receivedOctets(): number {
    return this.#receivedOctets;
  }

  /** Forgets what came so far. */
  forget(): void {
    this.#received = '';
  }

  /** From now on what comes is counted and not kept. */
  countOnly(): void {
    this.#isKept = false;
  }

  /** The gateway has ended its half, or all of it. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Each piece is written on its own, after whatever the one before has set off in this process. */
  async send(...pieces: readonly string[]): Promise<void> {
    for (const [index, piece] of pieces.entries()) {
      if (index > 0) await new Promise((resolve) => setImmediate(resolve));
      if (this.#socket.destroyed || !this.#socket.writable) return;
      this.#socket.write(piece, 'latin1');
    }
  }

  /** Resolves when the system has taken all of it, or the connection is over. */
  sendAll(octets: string): Promise<void> {
    return new Promise((resolve) => {
      this.#socket.write(octets, 'latin1', () => resolve());
    });
  }

  /** Ends our half. */
  end(): void {
    this.#socket.end();
  }

  /** Stops reading, until `resume`. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Resolves when `isSo`, which is looked at whenever something has arrived or the connection has ended. */
  async until(isSo: () => boolean): Promise<void> {
    while (!isSo()) await new Promise<void>((resolve) => this.#onChange.push(resolve));
  }

  untilEnd(): Promise<void> {
    return this.until(() => this.#hasEnded);
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  #changed(): void {
    for (const wake of this.#onChange.splice(0)) wake();
  }
}
