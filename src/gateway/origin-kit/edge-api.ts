import { z } from 'zod';
import { type Clock, deadline } from '../../base/index.ts';
import { type LoadRequest, loadedVmSchema } from '../schema.ts';
import { VM_API_PATH } from '../tag.ts';
import type { NamedVm } from './decision.ts';

const answerSchema = z.object({ virtualmachine: loadedVmSchema });
const ANSWER_LIMIT_BYTES = 64 * 1024;
/** Longer than the gateway itself may wait for a VM. */
const TIMEOUT_MS = 75_000;

/**
 * Asks a gateway's VM API for the origin's VM [gateway G4].
 *
 * @param waitS how long the gateway may hold its answer until the VM is ready.
 * @throws Error with the gateway's own words when it refuses.
 */
export async function loadVm(
  clock: Clock,
  gateway: { readonly baseUrl: string; readonly token: string },
  virtualmachine: LoadRequest['virtualmachine'],
  waitS: number,
): Promise<NamedVm> {
  const response = await fetch(`${gateway.baseUrl}${VM_API_PATH}`, {
    method: 'POST',
    headers: {
      Accept: 'application/json',
      Authorization: `Bearer ${gateway.token}`,
      'Content-Type': 'application/json',
      ...(waitS > 0 && { Prefer: `wait=${waitS}` }),
    },
    body: JSON.stringify({ virtualmachine }),
    // A redirect would carry the token to a host that is not known.
    redirect: 'error',
    signal: deadline(clock, TIMEOUT_MS),
  });
  const text = await readBounded(response);
  if (response.status !== 201 && response.status !== 202) {
    throw new Error(`the gateway answered ${response.status}: ${text.slice(0, 300)}`);
  }
  const { host, ip, url, status } = answerSchema.parse(JSON.parse(text)).virtualmachine;
  return { host, ip, url, isReady: status === 'ready' };
}

async function readBounded(response: Response): Promise<string> {
  let text = '';
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > ANSWER_LIMIT_BYTES) throw new Error('the gateway sends an endless answer');
  }
  return text;
}
