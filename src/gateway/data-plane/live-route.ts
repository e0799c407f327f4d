import type { Clock, Random } from '../../base/index.ts';
import { type Tag, tagWriter } from '../tag.ts';
import type { Route } from './data-plane.ts';
import { NoncePool } from './nonce-pool.ts';

/** How many requests of an origin are under way: one for all of its hosts, and for one snapshot after the other. */
export interface OriginLoad {
  active: number;
}

/** A route as it is used. */
export interface LiveRoute extends Route {
  readonly load: OriginLoad;
  /** The tag and its signature for one request, each field with its CR LF. */
  readonly tagLines: (method: string, authority: string, path: string) => string;
  /** CONNECT: nothing is asked, octets pass as they are. */
  readonly isTunnel: boolean;
  /** A host that is no site of this gateway: it is not told who asks. */
  readonly isForeign: boolean;
}

export function liveRoute(
  { clock, random }: { readonly clock: Clock; readonly random: Random },
  route: Route,
  tag: Tag,
  load: OriginLoad,
): LiveRoute {
  const write = tagWriter(tag, route.signingKey, route.assignedServer);
  const nonces = noncesOf(random);
  return {
    ...route,
    load,
    isTunnel: false,
    isForeign: false,
    tagLines: (method, authority, path) =>
      write({ method, authority, path }, { nowS: Math.floor(clock.nowMs() / 1000), nonce: nonces.next() }),
  };
}

const pools = new WeakMap<Random, NoncePool>();

/** One pool for all routes. */
function noncesOf(random: Random): NoncePool {
  const known = pools.get(random);
  if (known) return known;
  const pool = new NoncePool(random);
  pools.set(random, pool);
  return pool;
}
