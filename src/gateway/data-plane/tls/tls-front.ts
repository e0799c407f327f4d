import { constants } from 'node:crypto';
import type { Socket } from 'node:net';
import {
  createSecureContext,
  createServer,
  type SecureContext,
  type Server,
  type TLSSocket,
  type TlsOptions,
} from 'node:tls';
import { messageOf } from '../../../base/index.ts';
import type { Listen } from '../../../platform/sockets/index.ts';
import type { Certificate } from '../data-plane.ts';
import { listenOn, portOf } from '../listening.ts';
import type { DataPlaneDeps } from '../plane.ts';
import { CertificateChooser, contextOptions, isSame } from './certificate-chooser.ts';

/** A client that has not finished its handshake by then is hung up on. */
const HANDSHAKE_TIMEOUT_MS = 10_000;

/** Forward secrecy and authenticated encryption only: also what HTTP/2 asks for (RFC 9113 §9.2.2). */
const CIPHERS = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':');

const POLICY = {
  minVersion: 'TLSv1.2',
  ciphers: CIPHERS,
  // A client that renegotiates has the server do the costly part again and again.
  secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
} as const satisfies TlsOptions;

export interface TlsFrontEvents {
  /** A client whose handshake is done. Nothing has been read of what it sends inside. */
  onSecure(socket: TLSSocket): void;
}

/** Where clients come by TLS. New certificates are for new handshakes; connections that are there go on with the old. */
export class TlsFront {
  readonly #log: DataPlaneDeps['log'];
  readonly #server: Server;
  /** Also those in the middle of their handshake, of which nobody else knows. */
  readonly #sockets = new Set<Socket>();
  #chooser = new CertificateChooser([], makeContext);
  #isStopped = false;

  constructor(log: DataPlaneDeps['log'], events: TlsFrontEvents, connectionLimit: number) {
    this.#log = log;
    this.#server = createServer(
      {
        ...POLICY,
        ALPNProtocols: ['h2', 'http/1.1'],
        SNICallback: (name, done) => done(null, this.#chooser.choose(name)),
        handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
        noDelay: true,
      },
      (socket) => {
        // The last handshakes of a server that closes.
        if (this.#isStopped) socket.destroy();
        else events.onSecure(socket);
      },
    );
    this.#server.maxConnections = connectionLimit;
    this.#server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
    // Handshakes fail all the time, and the client has been told why.
    this.#server.on('tlsClientError', (_error, socket) => socket.destroy());
  }

  /** @throws `port_taken`, `cannot_listen` */
  listen(listen: Listen, sharesPort: boolean): Promise<void> {
    return listenOn(this.#server, listen, sharesPort, this.#log);
  }

  get port(): number {
    return portOf(this.#server);
  }

  /** Shows these from now on. Those from before stay when one of the new is unusable: whoever reads the files checks them. */
  use(certificates: readonly Certificate[]): void {
    const before = this.#chooser;
    try {
      const chooser = new CertificateChooser(certificates, makeContext, before);
      const { first } = chooser;
      if (!isSame(first, before.first)) {
        this.#server.setSecureContext({ ...POLICY, ...(first && contextOptions(first)) });
      }
      this.#chooser = chooser;
    } catch (error) {
      this.#log.error({ reason: messageOf(error) }, 'new certificates cannot be used');
    }
  }

  /** Takes no new connection. */
  stop(): void {
    this.#isStopped = true;
    if (this.#server.listening) this.#server.close();
  }

  /** Ends what is left: connections whose handshake is under way. */
  destroy(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}

const makeContext = (certificate: Certificate): SecureContext =>
  createSecureContext({ ...POLICY, ...contextOptions(certificate) });
