import type { FastifyReply, FastifyRequest } from 'fastify';
import { type Clock, type CodedError, deadline } from '../../base/index.ts';
import type { ApiServer } from '../../platform/http/index.ts';
import { poolError } from '../../pool/index.ts';
import type { Operation } from '../../pool/schema.ts';
import type { OriginVms } from '../origin-vms.ts';
import { preferredWaitMs, prefersAsync } from './negotiation.ts';

/** When to ask again for what is under way. */
const RETRY_AFTER_S = 1;

/** Waits for what was asked as long as the client prefers. @throws what it has failed with. */
export type Awaited = (request: FastifyRequest, reply: FastifyReply, asked: Operation) => Promise<Operation>;

/** Answers to those who would wait (RFC 7240): they are told how far it is once the server is closed. */
export function patientAnswers(app: ApiServer, clock: Clock, vms: Pick<OriginVms, 'settled'>): Awaited {
  // A client that is patient must not hold up the end.
  const closing = new AbortController();
  app.addHook('preClose', async () => closing.abort());
  return async (request, reply, asked) => {
    const prefer = request.headers['prefer']?.toString();
    const waitMs = preferredWaitMs(prefer);
    let operation = asked;
    if (waitMs > 0) {
      const gone = new AbortController();
      request.raw.socket.once('close', () => gone.abort());
      const enough = AbortSignal.any([gone.signal, closing.signal, deadline(clock, waitMs)]);
      operation = await vms.settled(asked, enough);
      reply.header('Preference-Applied', `wait=${waitMs / 1000}`);
    } else if (prefersAsync(prefer)) {
      reply.header('Preference-Applied', 'respond-async');
    }
    const { status } = operation;
    if (status === 'failed' || status === 'cancelled') throw failureOf(operation);
    if (status === 'running') reply.header('Retry-After', RETRY_AFTER_S);
    return operation;
  };
}

/** What an operation that brought nothing is told as. */
function failureOf({ kind, status, vm, reason }: Operation): CodedError {
  if (status === 'cancelled') {
    return poolError('vm_conflict', `what was asked of the VM ${vm} was called off: ${reason}`);
  }
  return kind === 'deploy' || kind === 'withdraw'
    ? poolError('application_failed', `the application in the VM ${vm} failed: ${reason}`)
    : poolError('vm_failed', `the VM ${vm} failed: ${reason}`);
}
