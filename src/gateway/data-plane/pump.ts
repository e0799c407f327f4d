import type { IncomingMessage, ServerResponse } from 'node:http';

/**
 * Passes a body on with backpressure. Resolves when the client has all of it, or, with `leaveOpen`, when the server has sent
 * all of it; rejects when either breaks off. (`stream.pipeline` does the same and costs an abort signal and an exception for
 * each answer: 4 % of the work.)
 */
export function pump(from: IncomingMessage, to: ServerResponse, leaveOpen = false): Promise<void> {
  return new Promise((resolve, reject) => {
    if (to.closed || (from.destroyed && !from.readableEnded)) {
      reject(new Error(to.closed ? 'the client broke off' : 'the server broke off'));
      return;
    }
    from.once('error', reject);
    from.once('close', () => {
      if (!from.readableEnded) reject(new Error('the server broke off'));
    });
    to.once('close', () => {
      if (!to.writableFinished) reject(new Error('the client broke off'));
    });
    if (leaveOpen) from.once('end', resolve);
    else to.once('finish', resolve);
    from.pipe(to, { end: !leaveOpen });
  });
}
