import type { Socket } from 'node:net';
import { clientAddress } from '../accepted-socket.ts';
import type { AnswerHead, ClientStream } from '../client.ts';
import { LINGER_MS, WRITE_TIMEOUT_MS } from '../client-timeouts.ts';
import type { ForeignReception } from '../forward/foreign-reception.ts';
import type { Visit } from '../visit.ts';
import { readClientHello } from './client-hello.ts';

const NEVER = Number.POSITIVE_INFINITY;
const HTTPS_PORT = 443;
/** A fatal alert (RFC 8446 §6): unrecognized_name. */
const UNRECOGNIZED_NAME = Buffer.from([21, 3, 3, 0, 2, 2, 112]);

/** Who takes what a client asks for. */
export type TlsReception = Pick<ForeignReception, 'clock' | 'headTimeoutMs' | 'observeRefusal' | 'passOn'>;

export interface TlsConnectionOwner {
  onClosed(connection: TlsConnection): void;
}

/**
 * A client's TLS connection that is passed on, as it is, to the server that its first message names. What is refused gets TLS's
 * own alert in place of an answer of HTTP.
 */
export class TlsConnection implements ClientStream {
  readonly address: string;
  readonly scheme = 'https';
  readonly protocol = 'TLS';
  readonly #reception: TlsReception;
  readonly #socket: Socket;
  readonly #owner: TlsConnectionOwner;
  #phase: 'hello' | 'asking' | 'tunnel' | 'ending' = 'hello';
  #hello: Buffer = Buffer.alloc(0);
  #visit: Visit | undefined;
  #isDraining = false;
  /** When this connection is given up. */
  #deadlineMs: number;

  constructor(reception: TlsReception, socket: Socket, owner: TlsConnectionOwner) {
    this.#reception = reception;
    this.#socket = socket;
    this.#owner = owner;
    this.address = clientAddress(socket);
    this.#deadlineMs = reception.clock.monotonicMs() + reception.headTimeoutMs;
    socket.on('error', () => undefined);
    socket.on('end', () => this.#onEnd());
    socket.on('close', () => {
      this.#visit?.onClientGone('client broke off');
      this.#owner.onClosed(this);
    });
  }

  /** A tunnel has no moment at which it could be asked to end. */
  close(): void {
    this.#socket.destroy();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** Ends what takes too long. Called now and then. */
  check(nowMs: number): void {
    if (nowMs >= this.#deadlineMs) this.#socket.destroy();
    else if (this.#visit && nowMs >= this.#visit.deadlineMs) this.#visit.onDeadline();
  }

  /** Takes what the client sends; the octets are valid during the call. False: no more until the socket is resumed. */
  onOctets(octets: Buffer): boolean {
    if (this.#phase === 'tunnel') return this.#visit?.onBody(octets) ?? true;
    if (this.#phase === 'ending') return true;
    this.#hello = Buffer.concat([this.#hello, octets]);
    return this.#phase === 'hello' && this.#readHello();
  }

  /** False when no more is wanted, until the server is there. */
  #readHello(): boolean {
    const hello = readClientHello(this.#hello);
    if (hello === undefined) return true;
    if (hello.kind === 'refused') {
      this.#reception.observeRefusal(400, hello.reason, this);
      this.#socket.destroy();
      return false;
    }
    this.#phase = 'asking';
    this.#deadlineMs = NEVER;
    const host = `${hello.serverName}:${HTTPS_PORT}`;
    const request = { method: 'CONNECT', target: host, host, kept: '', bodyLength: 0, isWebSocket: false };
    const target = { hostName: hello.serverName, host, path: '' };
    this.#visit = this.#reception.passOn(this, request, target);
    this.#visit?.start();
    return this.#visit === undefined;
  }

  #onEnd(): void {
    if (this.#phase === 'tunnel') this.#visit?.onBodyEnd('');
    else this.#socket.destroy();
  }

  switchProtocols(): void {
    this.#phase = 'tunnel';
    const hello = this.#hello;
    this.#hello = Buffer.alloc(0);
    if (this.#visit?.onBody(hello)) this.#socket.resume();
  }

  wantBody(): void {
    this.#socket.resume();
  }

  data(octets: Buffer): boolean {
    // A refusal's sentence: TLS has an alert instead.
    if (this.#phase !== 'tunnel') return true;
    this.#socket.write(octets);
    if (this.#socket.writableLength === 0) return true;
    if (!this.#isDraining) {
      this.#isDraining = true;
      this.#deadlineMs = this.#reception.clock.monotonicMs() + WRITE_TIMEOUT_MS;
      // Its turn comes when all before it is out.
      this.#socket.write('', () => this.#onDrained());
    }
    return false;
  }

  #onDrained(): void {
    this.#isDraining = false;
    if (this.#phase === 'tunnel') this.#deadlineMs = NEVER;
    this.#visit?.onClientDrain();
  }

  end(): void {
    if (this.#phase !== 'tunnel') this.#socket.write(UNRECOGNIZED_NAME);
    const patienceMs = this.#isDraining ? WRITE_TIMEOUT_MS : LINGER_MS;
    this.#phase = 'ending';
    this.#deadlineMs = this.#reception.clock.monotonicMs() + patienceMs;
    this.#socket.end();
    this.#socket.resume();
  }

  abort(): void {
    this.#socket.resetAndDestroy();
  }

  begin(_head: AnswerHead): void {}
  interim(): void {}
  flush(): void {}
}
