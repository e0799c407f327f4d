import { once } from 'node:events';
import { get, type IncomingHttpHeaders, type RequestOptions } from 'node:http';
import { connect, type IncomingHttpStatusHeader } from 'node:http2';
import { get as getByTls } from 'node:https';
import type { ConnectionOptions } from 'node:tls';
import { HOST, type Ports, type Protocol, SEEN_PATH } from './peers.ts';
import { TLS_SUITE, TLS_VERSION } from './tls-setting.ts';

/** Longer than any answer takes on a machine that does nothing else yet. */
const TIMEOUT_MS = 10_000;

interface Seen {
  readonly status: number | undefined;
  readonly headers: IncomingHttpHeaders;
}

/**
 * Looks, over each protocol, whether a proxy does to each request what it has to do, as the origin sees it; and whether it
 * takes part in TLS as agreed, with the certificate that was made for all.
 *
 * @throws when it does not.
 */
export async function checkTag(
  { name, ports }: { readonly name: string; readonly ports: Ports },
  { signs, certPem }: { readonly signs: boolean; readonly certPem: string },
): Promise<void> {
  const tls: ConnectionOptions = {
    ca: certPem,
    servername: HOST,
    minVersion: TLS_VERSION,
    ciphers: TLS_SUITE,
  };
  const ways: Readonly<Record<Protocol, () => Promise<Seen>>> = {
    http: () => look(ports.http),
    https: () => look(ports.https, tls),
    h2: () => lookByHttp2(ports.https, tls),
  };
  for (const [protocol, ask] of Object.entries(ways)) {
    const { status, headers } = await ask().catch((error: unknown) => {
      throw new Error(`${name} does not answer over ${protocol}`, { cause: error });
    });
    if (status !== 200 || headers['seen-tag'] === undefined) {
      throw new Error(`${name} adds no tag over ${protocol} (status ${status})`);
    }
    const signature = headers['seen-signature-input'];
    if (signs && !signature?.includes('alg="hmac-sha256"')) {
      throw new Error(
        `${name} does not sign its tag with the origin's key over ${protocol}: ${String(signature)}`,
      );
    }
  }
}

/** Whether anything answers there. */
export const isServing = async (port: number): Promise<boolean> => (await look(port)).status === 200;

function look(port: number, tls?: ConnectionOptions): Promise<Seen> {
  const options: RequestOptions = {
    host: '127.0.0.1',
    port,
    path: SEEN_PATH,
    headers: { Host: HOST },
    agent: false,
    timeout: TIMEOUT_MS,
  };
  return new Promise((resolve, reject) => {
    const request = tls ? getByTls({ ...options, ...tls }) : get(options);
    request.once('response', (answer) => {
      answer.resume().once('end', () => resolve({ status: answer.statusCode, headers: answer.headers }));
    });
    request.once('timeout', () => request.destroy(new Error('no answer')));
    request.once('error', reject);
  });
}

async function lookByHttp2(port: number, tls: ConnectionOptions): Promise<Seen> {
  const session = connect(`https://127.0.0.1:${port}`, tls);
  try {
    const stream = session.request(
      { ':path': SEEN_PATH, ':authority': HOST },
      { signal: AbortSignal.timeout(TIMEOUT_MS) },
    );
    // What ends the session ends the stream with it.
    session.on('error', (error) => stream.destroy(error));
    const [headers] = (await once(stream.resume(), 'response')) as [
      IncomingHttpHeaders & IncomingHttpStatusHeader,
    ];
    return { status: headers[':status'], headers };
  } finally {
    session.destroy();
  }
}
