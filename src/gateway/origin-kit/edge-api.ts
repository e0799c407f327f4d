import { z } from 'zod';
import { type Clock, deadline } from '../../base/index.ts';
import { type LoadedVm, type LoadRequest, loadedVmSchema, type WantedApplication } from '../schema.ts';
import { VM_API_PATH } from '../tag.ts';
import type { NamedVm, RunningVm } from './decision.ts';

const oneVm = z.object({ virtualmachine: loadedVmSchema });
const allVms = z.object({ virtualmachines: z.array(loadedVmSchema) });
const ANSWER_LIMIT_BYTES = 256 * 1024;
/** Longer than the gateway itself may wait for a VM. */
const TIMEOUT_MS = 75_000;

/** A gateway's VM API, as one of its origins asks it. */
export interface EdgeApi {
  readonly baseUrl: string;
  readonly token: string;
}

/**
 * Asks a gateway's VM API for the origin's VM [gateway G4].
 *
 * @param waitS how long the gateway may hold its answer until the VM is ready.
 * @throws Error with the gateway's own words when it refuses.
 */
export async function loadVm(
  clock: Clock,
  api: EdgeApi,
  virtualmachine: LoadRequest['virtualmachine'],
  waitS: number,
): Promise<NamedVm> {
  const { text } = await ask(clock, api, 'POST', VM_API_PATH, { body: { virtualmachine }, waitS });
  return namedVm(oneVm.parse(JSON.parse(text)).virtualmachine);
}

/** The origin's VMs there. @throws Error with the gateway's own words when it refuses. */
export async function listVms(clock: Clock, api: EdgeApi): Promise<RunningVm[]> {
  const { text } = await ask(clock, api, 'GET', VM_API_PATH);
  return allVms.parse(JSON.parse(text)).virtualmachines.map(runningVm);
}

/**
 * Has an application put into a VM that runs [gateway G13].
 *
 * @returns whether it runs there already.
 * @throws Error with the gateway's own words when it refuses.
 */
export async function deployApplication(
  clock: Clock,
  api: EdgeApi,
  vmName: string,
  application: WantedApplication,
  waitS: number,
): Promise<boolean> {
  const path = `${VM_API_PATH}/${vmName}/application`;
  const { status } = await ask(clock, api, 'PUT', path, { body: { application }, waitS });
  return status === 200;
}

const runningVm = (vm: LoadedVm): RunningVm => ({
  ...namedVm(vm),
  name: vm.name,
  applicationDigest: vm.application?.digest,
  isDeploying: vm.deployment !== undefined,
});

const namedVm = ({ host, ip, url, status }: LoadedVm): NamedVm => ({
  host,
  ip,
  url,
  isReady: status === 'ready',
});

async function ask(
  clock: Clock,
  { baseUrl, token }: EdgeApi,
  method: 'GET' | 'POST' | 'PUT',
  path: string,
  { body, waitS = 0 }: { readonly body?: object; readonly waitS?: number } = {},
): Promise<{ status: number; text: string }> {
  const response = await fetch(`${baseUrl}${path}`, {
    method,
    headers: {
      Accept: 'application/json',
      Authorization: `Bearer ${token}`,
      ...(body && { 'Content-Type': 'application/json' }),
      ...(waitS > 0 && { Prefer: `wait=${waitS}` }),
    },
    ...(body && { body: JSON.stringify(body) }),
    // A redirect would carry the token to a host that is not known.
    redirect: 'error',
    signal: deadline(clock, TIMEOUT_MS),
  });
  const text = await readBounded(response);
  if (![200, 201, 202].includes(response.status)) {
    throw new Error(`the gateway answered ${response.status}: ${text.slice(0, 300)}`);
  }
  return { status: response.status, text };
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
