import type { Scope } from '../schema.ts';
import type { Route, SleepingVm, VmUpstream } from './data-plane.ts';

/** What a request line and its Host name. */
export interface Target {
  /** Lower case, without port. */
  readonly hostName: string;
  /** As the client wrote it, with port. */
  readonly host: string;
  /** Origin form: path and query. */
  readonly path: string;
}

/**
 * The target of a request. In absolute form the URL counts and Host is ignored (RFC 9112 §3.2.2), but must be one.
 * `undefined` when it names no host, or in a way that another server could read differently.
 */
export function parseTarget(
  requestTarget: string,
  hostField: string | undefined,
  method = 'GET',
): Target | undefined {
  if (requestTarget.startsWith('/') || requestTarget === '*') return target(hostField, requestTarget);
  const absolute = /^https?:\/\/([^/?#@]+)([/?][^#]*)?$/i.exec(requestTarget);
  if (!absolute || (hostField !== undefined && !target(hostField, ''))) return undefined;
  // RFC 9112 §3.2.4
  const path = absolute[2] ?? (method === 'OPTIONS' ? '*' : '/');
  return target(absolute[1], path.startsWith('?') ? `/${path}` : path);
}

function target(host: string | undefined, path: string): Target | undefined {
  const match = /^(\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9._-]{0,252}[a-z0-9])?)\.?(?::(\d{1,5}))?$/i.exec(
    host ?? '',
  );
  if (match?.[1] === undefined || host === undefined || Number(match[2] ?? 0) > 65_535) return undefined;
  return { hostName: match[1].toLowerCase(), host, path };
}

/** An authority as signatures name it: lower case, the scheme's own port left out (RFC 9421 §2.2.3). */
export const withoutDefaultPort = (host: string, isTls: boolean): string =>
  host.toLowerCase().replace(isTls ? /:443$/ : /:80$/, '');

/**
 * Who is to serve a request: a ready VM in whose scope it is, else the origin.
 *
 * @param turn counts requests, so that several VMs of one origin take them in turn.
 */
export function chooseVm(route: Route, method: string, path: string, turn: number): VmUpstream | undefined {
  const vms = route.vms.filter(({ scope }) => !scope || isInScope(scope, method, path));
  return vms[turn % Math.max(1, vms.length)];
}

/** Who would serve it if it did not sleep. */
export const chooseSleeper = (route: Route, method: string, path: string): SleepingVm | undefined =>
  route.asleep?.find(({ scope }) => !scope || isInScope(scope, method, path));

const isInScope = ({ methods, paths }: Scope, method: string, path: string): boolean =>
  (methods?.includes(method) ?? true) && (paths?.some((prefix) => path.startsWith(prefix)) ?? true);

/** Methods that may be sent twice with the effect of once (RFC 9110 §9.2.2). */
const IDEMPOTENT = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);

export const isIdempotent = (method: string): boolean => IDEMPOTENT.has(method);

/**
 * Whether a request that one server has failed may be sent to another.
 *
 * @param wasSent whether any octet of it may have reached it; one that did not may be sent again whatever it is.
 * @param hasWholeBody whether its body is still here, whole.
 */
export function mayReplay(method: string, wasSent: boolean, hasWholeBody: boolean): boolean {
  return hasWholeBody && (!wasSent || isIdempotent(method));
}
