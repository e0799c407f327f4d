import { request as httpRequest, type IncomingMessage, ServerResponse } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Clock, messageOf } from '../../base/index.ts';
import type { Upstream } from './data-plane.ts';
import { clientHeaders } from './headers.ts';

/** Without any octet for this long in either direction a WebSocket is taken for dead. */
const IDLE_TIMEOUT_MS = 10 * 60_000;
const HANDSHAKE_TIMEOUT_MS = 10_000;

/** A request to go on as a WebSocket (RFC 6455 §4.1). Every other `Upgrade` is dropped, and the request goes on as HTTP. */
export const isWebSocket = ({ method, headers }: IncomingMessage): boolean =>
  method === 'GET' &&
  headers.upgrade?.toLowerCase() === 'websocket' &&
  /\bupgrade\b/i.test(headers.connection ?? '');

export interface WebSocketVisit {
  readonly request: IncomingMessage;
  /** The client's connection, and what it had sent already behind the head. */
  readonly socket: Duplex;
  readonly sent: Buffer;
}

export type WebSocketOutcome =
  /** No octet was answered: another server may be asked. */
  | { readonly kind: 'none'; readonly reason: string }
  | { readonly kind: 'over'; readonly status: number; readonly firstByteMs: number; readonly bytes: number };

/**
 * Hands the request on, and, only once the server has agreed with 101, every octet in both directions. An answer of any
 * other status ends the connection: what the client may have sent behind its request is never taken for a request.
 */
export async function relayWebSocket(
  clock: Clock,
  upstream: Upstream,
  asked: { readonly path: string; readonly headers: readonly string[] },
  { request, socket, sent }: WebSocketVisit,
  servedBy: string | undefined,
): Promise<WebSocketOutcome> {
  const startMs = clock.monotonicMs();
  const send = upstream.isTls ? httpsRequest : httpRequest;
  const outgoing = send({
    host: upstream.host,
    port: upstream.port,
    path: asked.path,
    headers: [...asked.headers, 'Connection', 'Upgrade', 'Upgrade', 'websocket'],
    agent: false,
    setHost: false,
  });
  const onGone = () => outgoing.destroy(new Error('the client broke off'));
  socket.once('close', onGone);
  const timer = clock.after(HANDSHAKE_TIMEOUT_MS, () => outgoing.destroy(new Error('no answer in time')));
  try {
    const { message, upgraded, first } = await handshake(outgoing);
    timer[Symbol.dispose]();
    const firstByteMs = clock.monotonicMs() - startMs;
    const over = { kind: 'over', status: message.statusCode ?? 502, firstByteMs } as const;
    const bytes = () => message.socket.bytesRead + message.socket.bytesWritten;
    if (!upgraded) {
      await answer(request, socket, message, servedBy);
      return { ...over, bytes: bytes() };
    }
    socket.write(switchingHead(message, servedBy));
    if (first.length > 0) socket.write(first);
    if (sent.length > 0) upgraded.write(sent);
    await tunnel(socket as Socket, upgraded);
    return { ...over, bytes: bytes() };
  } catch (error) {
    return { kind: 'none', reason: messageOf(error) };
  } finally {
    timer[Symbol.dispose]();
    socket.off('close', onGone);
  }
}

function handshake(
  outgoing: ReturnType<typeof httpRequest>,
): Promise<{ message: IncomingMessage; upgraded?: Socket; first: Buffer }> {
  return new Promise((resolve, reject) => {
    outgoing.once('upgrade', (message: IncomingMessage, upgraded: Socket, first: Buffer) =>
      resolve({ message, upgraded, first }),
    );
    outgoing.once('response', (message) => resolve({ message, first: Buffer.alloc(0) }));
    outgoing.on('error', reject);
    outgoing.end();
  });
}

function switchingHead({ rawHeaders }: IncomingMessage, servedBy: string | undefined): string {
  const fields = ['Connection', 'Upgrade', 'Upgrade', 'websocket', ...clientHeaders(rawHeaders, servedBy)];
  let head = 'HTTP/1.1 101 Switching Protocols\r\n';
  for (let i = 0; i + 1 < fields.length; i += 2) head += `${fields[i]}: ${fields[i + 1]}\r\n`;
  return `${head}\r\n`;
}

/** The server would not switch: its answer goes to the client, and then the connection ends. */
async function answer(
  request: IncomingMessage,
  socket: Duplex,
  message: IncomingMessage,
  servedBy: string | undefined,
): Promise<void> {
  const response = new ServerResponse(request);
  response.assignSocket(socket as Socket);
  response.shouldKeepAlive = false;
  response.writeHead(
    message.statusCode ?? 502,
    message.statusMessage,
    clientHeaders(message.rawHeaders, servedBy),
  );
  await pipeline(message, response).catch(() => undefined);
  socket.end();
}

/** Until either side ends. A side that is silent too long ends both. */
async function tunnel(client: Socket, server: Socket): Promise<void> {
  for (const socket of [client, server]) socket.setTimeout(IDLE_TIMEOUT_MS, () => socket.destroy());
  await Promise.allSettled([pipeline(client, server), pipeline(server, client)]);
}
