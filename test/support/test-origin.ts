import { createReadStream } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

type Serve = (request: IncomingMessage, response: ServerResponse) => void;

/** A provider's server that knows nothing but HTTP: it answers visitors, and gives images away below `/images/`. */
export class TestOrigin implements AsyncDisposable {
  readonly #server: Server;
  /** What visitors asked for, in order; not the images. */
  readonly requests: Pick<IncomingMessage, 'method' | 'url' | 'headers'>[] = [];
  /** Which files were fetched of images. */
  readonly imageFetches: string[] = [];
  /** Answers visitors. */
  serve: Serve;
  /** By name: the folder that is served as `/images/<name>/`, or a server of its own. */
  readonly images: Record<string, string | Serve> = {};

  private constructor(name: string) {
    this.serve = (_request, response) => void response.end(`from ${name}\n`);
    this.#server = createServer((request, response) => this.#answer(request, response));
  }

  static async start(name = 'the origin'): Promise<TestOrigin> {
    const origin = new TestOrigin(name);
    await origin.#listen(0);
    return origin;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  imageUrl(name: string): string {
    return `http://127.0.0.1:${this.port}/images/${name}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    if (this.#server.listening) await new Promise((resolve) => this.#server.close(resolve));
  }

  #listen(port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject).listen(port, '127.0.0.1', () => resolve());
    });
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const { method, url = '', headers } = request;
    const [, name, file] = /^\/images\/([^/]+)\/([^/]+)$/.exec(url) ?? [];
    if (name === undefined || file === undefined) {
      this.requests.push({ method, url, headers });
      this.serve(request, response);
      return;
    }
    this.imageFetches.push(`${name}/${file}`);
    const image = this.images[name];
    if (typeof image === 'function') image(request, response);
    else if (image === undefined) response.writeHead(404).end();
    else {
      createReadStream(join(image, file))
        .once('error', () => response.writeHead(404).end())
        .pipe(response);
    }
  }
}
