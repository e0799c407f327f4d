import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import { buffer, text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import type { Closable } from '../../src/base/index.ts';
import { VM_API_PATH } from '../../src/gateway/tag.ts';
import type { Site } from './site.ts';

/** Says in an answer that the origin gave it. */
export const ANSWERED_BY = 'x-answered-by';

/** How long the VM API may hold its answer back; it gives no more than this. */
const WAIT_SECONDS = 60;

const loadedSchema = z.object({ virtualmachine: z.object({ status: z.string(), url: z.string() }) });

export interface CountedOriginOptions {
  /** The host under which it asks for a VM; under any other it serves itself. */
  readonly offloadedHost: string;
  readonly vmName: string;
  readonly imageFolder: string;
  readonly imageDigest: string;
}

/** A gateway's VM API, and the token that opens it. */
export interface Enrolment {
  readonly apiPort: number;
  readonly token: string;
}

/**
 * A site's own server. It counts what passes its own sockets, and asks the gateway whose tag it sees for a VM: the first
 * visitor is kept waiting and then sent there; everyone else is served.
 */
export class CountedOrigin implements Closable {
  readonly #site: Site;
  readonly #options: CountedOriginOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #closedBytes = 0;
  #connections = 0;
  #enrolment: Enrolment | undefined;
  #isLoaded = false;
  /** The memory of the VM that it asks for next, in octets; without it, what the image needs. */
  memoryBytes: number | undefined;
  /** From our `POST` to its answer, in ms, for each time that a VM was asked for. */
  readonly loadMs: number[] = [];

  private constructor(site: Site, options: CountedOriginOptions) {
    this.#site = site;
    this.#options = options;
    this.#server = createServer((request, response) => {
      // A visitor who leaves in the middle is his own affair.
      this.#handle(request, response).catch(() => response.destroy());
    });
    this.#server.keepAliveTimeout = 60_000;
    this.#server.on('connection', (socket: Socket) => {
      this.#connections += 1;
      this.#sockets.add(socket);
      socket.once('close', () => {
        this.#sockets.delete(socket);
        this.#closedBytes += socket.bytesRead + socket.bytesWritten;
      });
    });
  }

  static async start(site: Site, options: CountedOriginOptions): Promise<CountedOrigin> {
    const origin = new CountedOrigin(site, options);
    await new Promise<void>((resolve, reject) => {
      origin.#server.once('error', reject).listen(0, '127.0.0.1', resolve);
    });
    return origin;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Octets of all its connections so far, both ways. */
  get bytes(): number {
    return [...this.#sockets].reduce(
      (sum, { bytesRead, bytesWritten }) => sum + bytesRead + bytesWritten,
      this.#closedBytes,
    );
  }

  /** Connections that were opened to it so far. */
  get connections(): number {
    return this.#connections;
  }

  /** From now on it knows this gateway. */
  enrol(enrolment: Enrolment): void {
    this.#enrolment = enrolment;
  }

  /** Has the VM stopped; the next visitor is a reason to ask for one. */
  async unload(): Promise<void> {
    const { status } = await this.#call('DELETE', `${VM_API_PATH}/${this.#options.vmName}`);
    if (status !== 204 && status !== 404) throw new Error(`the VM API answered ${status} to DELETE`);
    this.#isLoaded = false;
  }

  /** Asks for the VM and waits. Resolves with its URL once it is ready; with nothing when it is not in time. */
  async load(): Promise<URL | undefined> {
    const { vmName, imageDigest } = this.#options;
    const startMs = performance.now();
    this.#isLoaded = true;
    const { status, body } = await this.#call('POST', VM_API_PATH, {
      virtualmachine: {
        name: vmName,
        imageRef: `http://127.0.0.1:${this.port}/images/${vmName}`,
        imageDigest,
        ...(this.memoryBytes !== undefined && {
          configuration: { cpus: 1, memoryBytes: this.memoryBytes, diskBytes: 0 },
        }),
      },
    });
    if (status !== 201 && status !== 202)
      throw new Error(`the VM API answered ${status}: ${body.slice(0, 300)}`);
    this.loadMs.push(performance.now() - startMs);
    const { virtualmachine: vm } = loadedSchema.parse(JSON.parse(body));
    return vm.status === 'ready' ? new URL(vm.url) : undefined;
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = new URL(request.url ?? '/', 'http://origin').pathname;
    const images = `/images/${this.#options.vmName}/`;
    if (path.startsWith(images)) {
      await this.#sendImageFile(path.slice(images.length), response);
      return;
    }
    if (request.method === 'POST') {
      const form = await buffer(request);
      answer(
        response,
        200,
        'application/json',
        JSON.stringify({ name: 'origin', receivedBytes: form.length }),
      );
      return;
    }
    if (request.method === 'GET' && this.#asksForVm(request)) {
      const vm = await this.load();
      if (vm) {
        response.writeHead(302, {
          Location: new URL(path, vm).href,
          'Content-Length': 0,
          [ANSWERED_BY]: 'origin',
        });
        response.end();
        return;
      }
    }
    const content = this.#site.content(path);
    answer(response, content ? 200 : 404, 'text/html', content ?? 'not found', request.method === 'HEAD');
  }

  /** The tag names the gateway that we know, and no VM of ours was asked for since the last one was stopped. */
  #asksForVm({ headers }: IncomingMessage): boolean {
    const { apiPort } = this.#enrolment ?? {};
    const host = headers.host?.replace(/:\d+$/, '');
    const isOurs = headers['bng-api-url'] === `127.0.0.1:${apiPort}${VM_API_PATH}`;
    return isOurs && host === this.#options.offloadedHost && !this.#isLoaded;
  }

  async #sendImageFile(name: string, response: ServerResponse): Promise<void> {
    const path = join(this.#options.imageFolder, name);
    const found = /^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name) && (await stat(path).catch(() => undefined));
    if (!found) {
      answer(response, 404, 'text/plain', 'not found');
      return;
    }
    response.writeHead(200, { 'Content-Length': found.size });
    await pipeline(createReadStream(path), response);
  }

  /** A connection of its own for each call, which no server is about to close. */
  async #call(method: string, path: string, content?: object): Promise<{ status: number; body: string }> {
    if (!this.#enrolment) throw new Error('the origin is enrolled at no gateway');
    const { apiPort, token } = this.#enrolment;
    const answered = await new Promise<IncomingMessage>((resolve, reject) => {
      const headers: OutgoingHttpHeaders = { authorization: `Bearer ${token}`, accept: 'application/json' };
      if (content) {
        headers['content-type'] = 'application/json';
        headers['prefer'] = `wait=${WAIT_SECONDS}`;
      }
      const call = httpRequest({ host: '127.0.0.1', port: apiPort, method, path, headers, agent: false });
      call.once('response', resolve).once('error', reject);
      call.end(content && JSON.stringify(content));
    });
    return { status: answered.statusCode ?? 0, body: await text(answered) };
  }
}

function answer(
  response: ServerResponse,
  status: number,
  type: string,
  body: string | Buffer,
  isHead = false,
): void {
  response.writeHead(status, {
    'Content-Type': type,
    'Content-Length': Buffer.byteLength(body),
    [ANSWERED_BY]: 'origin',
  });
  response.end(isHead ? undefined : body);
}
