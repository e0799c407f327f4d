import type { IncomingMessage } from 'node:http';
import type { Clock } from '../../base/index.ts';
import type { Answer } from './upstream-client.ts';

/** A VM's answer up to this size is read whole before a byte of it is sent: the VM may die in the middle. */
const HOLD_LIMIT_BYTES = 256 * 1024;
/** An answer whose length is not told may be a stream that somebody watches: it is held this long at the most. */
const HOLD_TIME_MS = 200;

/** What a server gave: an answer that can be sent on, with what of its body was held back until now. */
export interface HeldAnswer {
  readonly answer: Answer;
  readonly held: readonly Buffer[];
  readonly isComplete: boolean;
  /** For a body that only the end of the connection ends: whether it was the server's end of it, or the server's own. */
  readonly endedWell?: (() => Promise<boolean>) | undefined;
}

export interface HoldDeps {
  readonly clock: Clock;
  /** Whether the VM still takes connections. */
  readonly isAlive: () => Promise<boolean>;
}

/** Waits for as much of a VM's answer as makes it safe to begin; `undefined` when the VM broke off before that. */
export async function hold(
  { clock, isAlive }: HoldDeps,
  answer: Answer,
  method: string | undefined,
): Promise<HeldAnswer | undefined> {
  const { message } = answer;
  const { 'content-length': length, 'transfer-encoding': coding } = message.headers;
  // A chunked body tells by itself whether it is whole, and may be a stream whose beginning is awaited.
  const hasNoBody = method === 'HEAD' || message.statusCode === 204 || message.statusCode === 304;
  if (hasNoBody || coding !== undefined) return { answer, held: [], isComplete: false };
  try {
    if (length !== undefined) return await holdLength(answer, Number(length));
    return await holdUntilClose(clock, answer, isAlive);
  } catch {
    return undefined;
  }
}

/** All of a short body, the beginning of a long one. */
async function holdLength(answer: Answer, lengthBytes: number): Promise<HeldAnswer | undefined> {
  const { message } = answer;
  const wantedBytes = lengthBytes <= HOLD_LIMIT_BYTES ? lengthBytes : 1;
  const held: Buffer[] = [];
  for (let heldBytes = 0; heldBytes < wantedBytes; heldBytes = sizeOf(held)) {
    if (!take(message, held)) {
      if (hasEnded(message)) return undefined;
      await untilReadable(message);
    }
  }
  return { answer, held, isComplete: sizeOf(held) === lengthBytes };
}

/** A body that ends with its connection looks whole also when its server died: that is asked for at its end. */
async function holdUntilClose(
  clock: Clock,
  answer: Answer,
  isAlive: () => Promise<boolean>,
): Promise<HeldAnswer | undefined> {
  const { message } = answer;
  const held: Buffer[] = [];
  const patience = new AbortController();
  const timer = clock.after(HOLD_TIME_MS, () => patience.abort());
  try {
    while (!hasEnded(message) && !patience.signal.aborted && sizeOf(held) <= HOLD_LIMIT_BYTES) {
      if (!take(message, held)) await untilReadable(message, patience.signal);
    }
  } finally {
    timer[Symbol.dispose]();
  }
  if (!hasEnded(message)) return { answer, held, isComplete: false, endedWell: isAlive };
  return (await isAlive()) ? { answer, held, isComplete: true } : undefined;
}

function take(message: IncomingMessage, held: Buffer[]): boolean {
  const chunk = message.read() as Buffer | null;
  if (chunk) held.push(chunk);
  return chunk !== null;
}

const hasEnded = (message: IncomingMessage): boolean => message.readableEnded || message.destroyed;
const sizeOf = (chunks: readonly Buffer[]): number => chunks.reduce((sum, { length }) => sum + length, 0);

/** Resolves when there is more to read, nothing more will come, or the signal aborts. */
function untilReadable(message: IncomingMessage, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (error?: Error) => {
      for (const event of EVENTS) message.off(event, onProgress);
      message.off('error', settle);
      signal?.removeEventListener('abort', onProgress);
      if (error) reject(error);
      else resolve();
    };
    const onProgress = () => settle();
    for (const event of EVENTS) message.once(event, onProgress);
    message.once('error', settle);
    signal?.addEventListener('abort', onProgress, { once: true });
  });
}

const EVENTS = ['readable', 'end', 'close', 'aborted'] as const;
