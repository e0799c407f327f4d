import type { ClientRequest, ClientStream } from './client.ts';
import type { LiveRoute } from './live-route.ts';
import { type Target, withoutDefaultPort } from './target.ts';

/** The fields of a request as they go to the server, each with its CR LF: the client's, who it is, and the tag. */
export function upstreamFields(
  route: LiveRoute,
  target: Target,
  { address, scheme }: Pick<ClientStream, 'address' | 'scheme'>,
  { kept, method }: Pick<ClientRequest, 'kept' | 'method'>,
  isForVm: boolean,
): string {
  if (route.isForeign) return kept + tagOf(route, target, method);
  const { host } = target;
  const own = `X-Forwarded-For: ${address}\r\nX-Forwarded-Proto: ${scheme}\r\nX-Forwarded-Host: ${host}\r\n`;
  // A VM of this edge need not be told where it is.
  return isForVm ? kept + own : kept + own + tagOf(route, target, method);
}

function tagOf(route: LiveRoute, { host, path }: Target, method: string): string {
  const query = path.indexOf('?');
  return route.tagLines(
    method,
    withoutDefaultPort(route.originHost ?? host, route.upstream.isTls),
    query < 0 ? path : path.slice(0, query),
  );
}
