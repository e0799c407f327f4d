import type { IncomingMessage } from 'node:http';
import type { Answer } from './upstream-client.ts';

/** A VM's answer up to this size is read whole before a byte of it is sent: the VM may die in the middle. */
const HOLD_LIMIT_BYTES = 64 * 1024;

/** What a server gave: an answer that can be sent on, with what of its body was held back until now. */
export interface HeldAnswer {
  readonly answer: Answer;
  readonly held: readonly Buffer[];
  readonly isComplete: boolean;
}

/** Waits for as much of a VM's answer as makes it safe to begin; `undefined` when the VM broke off before that. */
export async function hold(answer: Answer, method: string | undefined): Promise<HeldAnswer | undefined> {
  const { message } = answer;
  const lengthBytes = Number(message.headers['content-length'] ?? 0);
  // Of unknown length, possibly an endless stream whose head is awaited: nothing is held back.
  if (lengthBytes === 0 || method === 'HEAD' || message.statusCode === 304) {
    return { answer, held: [], isComplete: false };
  }
  const wantedBytes = lengthBytes <= HOLD_LIMIT_BYTES ? lengthBytes : 1;
  const held: Buffer[] = [];
  let heldBytes = 0;
  try {
    while (heldBytes < wantedBytes) {
      const chunk = (message.read() as Buffer | null) ?? undefined;
      if (chunk) {
        held.push(chunk);
        heldBytes += chunk.length;
      } else if (message.readableEnded || message.destroyed) {
        return undefined;
      } else await untilReadable(message);
    }
    return { answer, held, isComplete: heldBytes === lengthBytes };
  } catch {
    return undefined;
  }
}

function untilReadable(message: IncomingMessage): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (error?: Error) => {
      for (const event of ['readable', 'end', 'close', 'aborted']) message.off(event, onProgress);
      message.off('error', settle);
      if (error) reject(error);
      else resolve();
    };
    const onProgress = () => settle();
    for (const event of ['readable', 'end', 'close', 'aborted']) message.once(event, onProgress);
    message.once('error', settle);
  });
}
