import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { Socket } from 'node:net';
import { RawConnection } from './raw-connection.ts';

/** A request as Node's strict parser reads it. */
export interface ReferenceRequest {
  readonly method: string;
  readonly url: string;
  readonly host: string | undefined;
  readonly body: string;
  /** It asked for another protocol. Node reads nothing behind an upgrade that it does not take. */
  readonly isUpgrade: boolean;
}

/** `node:http` in its strict mode: what it refuses, nobody should take. */
export class ReferenceServer implements AsyncDisposable {
  readonly #server: Server;
  /** In the order of their heads. */
  #found: (ReferenceRequest & { readonly isWhole: boolean })[] = [];
  /** The connection of what is read now. */
  #current = { octets: 0, hasClosed: false };
  #onChange: (() => void)[] = [];

  private constructor() {
    this.#server = createServer(
      { insecureHTTPParser: false, maxHeaderSize: 16 * 1024 },
      (request, response) => {
        this.#record(request);
        response.end();
      },
    );
    this.#server.on('connection', (socket: Socket) => {
      const state = this.#current;
      socket.on('data', (octets: Buffer) => {
        state.octets += octets.length;
        this.#changed();
      });
      socket.on('close', () => {
        state.hasClosed = true;
        this.#changed();
      });
    });
  }

  static async start(): Promise<ReferenceServer> {
    const reference = new ReferenceServer();
    await new Promise<void>((resolve) => reference.#server.listen(0, '127.0.0.1', resolve));
    return reference;
  }

  /** Every request that it finds whole in these octets, in order. */
  async read(octets: string): Promise<ReferenceRequest[]> {
    this.#found = [];
    const state = { octets: 0, hasClosed: false };
    this.#current = state;
    const { port } = this.#server.address() as { port: number };
    using client = await RawConnection.open(port);
    await client.send(octets);
    while (state.octets < octets.length && !state.hasClosed) {
      await new Promise<void>((resolve) => this.#onChange.push(resolve));
    }
    // What was parsed is told in the turns that follow.
    for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    return this.#found.filter(({ isWhole }) => isWhole);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #record(request: IncomingMessage): void {
    const { method = '', url = '', headers } = request;
    const found = {
      method,
      url,
      host: headers.host,
      body: '',
      isUpgrade: headers.upgrade !== undefined,
      isWhole: false,
    };
    this.#found.push(found);
    request.setEncoding('latin1');
    request.on('data', (more: string) => {
      found.body += more;
    });
    request.on('end', () => {
      found.isWhole = true;
    });
    // One whose body breaks off is none.
    request.on('error', () => undefined);
  }

  #changed(): void {
    for (const wake of this.#onChange.splice(0)) wake();
  }
}
