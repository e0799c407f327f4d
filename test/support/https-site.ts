import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type ClientSessionOptions,
  connect,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from 'node:http2';
import { type Clock, systemClock, systemRandom } from '../../src/base/index.ts';
import type {
  Certificate,
  Exchange,
  Route,
  RouteSnapshot,
  Upstream,
} from '../../src/gateway/data-plane/data-plane.ts';
import { RawDataPlane } from '../../src/gateway/data-plane/raw-data-plane.ts';
import { silentLog } from '../../src/platform/telemetry/index.ts';
import { makeCertificate } from './made-certificate.ts';

export interface HttpsSite extends AsyncDisposable {
  readonly plane: RawDataPlane;
  readonly port: number;
  readonly certificate: Certificate;
  /** Every request that is over. */
  readonly exchanges: readonly Exchange[];
  apply(change: Partial<Route> & { readonly certificates?: readonly Certificate[] }): void;
  /** Resolves when so many requests are over. */
  untilExchanges(count: number): Promise<void>;
  connect(options?: ClientSessionOptions): ClientHttp2Session;
}

const HOST = 'photos.example';

/** The site `photos.example` by HTTP and HTTPS, tagged `Bng-API-Server: 192.0.2.1`. */
export async function startHttpsSite(
  upstream: Pick<Upstream, 'port'> & Partial<Upstream>,
  { clock = systemClock }: { readonly clock?: Clock } = {},
): Promise<HttpsSite> {
  const certificate = await makeCertificate(HOST);
  const exchanges: Exchange[] = [];
  const sessions: ClientHttp2Session[] = [];
  let waiting: (() => void)[] = [];
  const observe = (exchange: Exchange) => {
    exchanges.push(exchange);
    const woken = waiting;
    waiting = [];
    for (const wake of woken) wake();
  };
  const listen = { host: '127.0.0.1', port: 0 };
  const plane = await RawDataPlane.start({ clock, random: systemRandom, log: silentLog, observe }, listen, {
    https: listen,
  });
  const apply: HttpsSite['apply'] = ({ certificates = [certificate], ...change }) => {
    const route = {
      origin: 'photos',
      upstream: { host: '127.0.0.1', isTls: false, ...upstream },
      vms: [],
      ...change,
    };
    const snapshot: RouteSnapshot = {
      routes: new Map([[HOST, route]]),
      tag: { name: 'Bng-API-Server', value: '192.0.2.1' },
      showServedBy: true,
      certificates,
    };
    plane.apply(snapshot);
  };
  apply({});
  return {
    plane,
    port: plane.httpsPort,
    certificate,
    exchanges,
    apply,
    async untilExchanges(count) {
      while (exchanges.length < count) await new Promise<void>((resolve) => waiting.push(resolve));
    },
    connect(options) {
      const session = connect(`https://127.0.0.1:${plane.httpsPort}`, {
        servername: HOST,
        ca: certificate.certPem,
        ...options,
      });
      session.on('error', () => undefined);
      sessions.push(session);
      return session;
    },
    async [Symbol.asyncDispose]() {
      for (const session of sessions) session.destroy();
      await plane.close();
    },
  };
}

export interface Http2Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  readonly trailers: IncomingHttpHeaders;
}

/** Asks for a page of the site. Rejects when the answer breaks off. */
export function askHttp2(
  session: ClientHttp2Session,
  headers: OutgoingHttpHeaders = {},
  body?: string | Buffer,
): Promise<Http2Answer> {
  const stream = session.request({ ':authority': HOST, ...headers }, { endStream: body === undefined });
  if (body !== undefined) stream.end(body);
  return readAnswer(stream);
}

/** All of the answer on a stream. Rejects when it breaks off. */
export function readAnswer(stream: ClientHttp2Stream): Promise<Http2Answer> {
  return new Promise((resolve, reject) => {
    let head: (IncomingHttpHeaders & { ':status'?: number | undefined }) | undefined;
    let trailers: IncomingHttpHeaders = {};
    const chunks: Buffer[] = [];
    stream.on('response', (headers) => {
      head = headers;
    });
    stream.on('trailers', (headers) => {
      trailers = headers;
    });
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('error', reject);
    stream.on('aborted', () => reject(new Error('aborted')));
    stream.on('close', () => reject(new Error(`closed with ${stream.rstCode}`)));
    stream.on('end', () => {
      if (stream.rstCode && stream.rstCode !== 0) return;
      resolve({
        status: head?.[':status'] ?? 0,
        headers: head ?? {},
        body: Buffer.concat(chunks).toString('latin1'),
        trailers,
      });
    });
  });
}
