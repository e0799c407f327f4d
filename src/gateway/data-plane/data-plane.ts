/**
 * What carries the users' traffic. It knows no pool, no store and no API: it is fed with snapshots of the routes and goes
 * on with the last one, so that it can run in processes of its own.
 * @module
 */
import type { LookupFunction } from 'node:net';
import type { Closable } from '../../base/index.ts';
import type { Scope } from '../schema.ts';
import type { AssignedServer, Tag } from '../tag.ts';
import type { SigningMaterial, TagKey } from '../tag-key.ts';
import type { LimitName, Limits } from './limits.ts';

/** A server to which requests are forwarded. */
export interface Upstream {
  readonly host: string;
  readonly port: number;
  readonly isTls: boolean;
  /** Finds its addresses, where not every address will do. */
  readonly lookup?: LookupFunction | undefined;
  /** Connections are shared only with upstreams of the same realm: others find their addresses by other rules. */
  readonly realm?: string | undefined;
  /** Authorities that its certificate may be from, instead of those that Node knows. */
  readonly caPem?: string | undefined;
}

/** What this gateway shows to clients who come by HTTPS. */
export interface Certificate {
  /** It, and behind it those that vouch for it. */
  readonly certPem: string;
  readonly keyPem: string;
}

/** An origin's server in a VM at this edge. */
export interface VmUpstream extends Upstream {
  readonly name: string;
  /** Which requests it serves; all when absent. */
  readonly scope?: Scope | undefined;
}

/** A VM that was suspended because nobody asked it anything. */
export type SleepingVm = Pick<VmUpstream, 'name' | 'scope'>;

/** What is served under one host name. */
export interface Route {
  /** The origin's name in the configuration: a metric's label. */
  readonly origin: string;
  readonly upstream: Upstream;
  /** The host that the origin knows itself by, when the request came under another (`<vm>.<edge domain>`). */
  readonly originHost?: string | undefined;
  /** Signs the tag for this origin; absent where tags are not signed. */
  readonly signingKey?: TagKey | undefined;
  /** A VM of this origin that runs here. */
  readonly assignedServer?: AssignedServer | undefined;
  /** VMs that are ready to serve this host; requests take them in turn. Empty: the origin serves. */
  readonly vms: readonly VmUpstream[];
  /** VMs that sleep, and are woken by a request that no other VM can serve. */
  readonly asleep?: readonly SleepingVm[] | undefined;
}

/** Which hosts beside the routes' may be asked on behalf of clients who name them. Plain data. */
export interface ForeignRules {
  /** Hosts and ports, see `HostList`. */
  readonly allow: readonly string[];
  /** Subnets whose clients are served; absent: those that are not of the Internet. */
  readonly clients?: readonly string[] | undefined;
  /** Subnets that are not of the Internet and to which names may lead all the same. */
  readonly privateNetworks: readonly string[];
}

/** All routes at one moment. */
export interface RouteSnapshot {
  /** By host name, lower case, without port. */
  readonly routes: ReadonlyMap<string, Route>;
  /** Added to every request that goes to an origin. */
  readonly tag: Tag;
  /** Whether answers say who served them: `Orilla-Served-By: origin` or `vm/<name>`. */
  readonly showServedBy: boolean;
  /** For HTTPS: chosen by the names that stand in them, the first for all others. None when absent. */
  readonly certificates?: readonly Certificate[] | undefined;
  /** The gateway's own key, by which the tag is signed for hosts that have no route. */
  readonly gatewayKey?: SigningMaterial | undefined;
  /** What the forward proxy may ask; nothing when absent. */
  readonly forwardProxy?: ForeignRules | undefined;
  /** What is passed on for a network behind this gateway; nothing when absent. */
  readonly transparent?: ForeignRules | undefined;
  /** `DEFAULT_LIMITS` when absent. */
  readonly limits?: Limits | undefined;
}

/** Who answered a request. `gateway`: this program itself, because nobody else could. */
export type ServedBy = 'origin' | 'vm' | 'gateway';

/** One request, told when it is over. */
export interface Exchange {
  /** Empty for a request that named no site of this gateway. */
  readonly origin: string;
  readonly servedBy: ServedBy;
  readonly status: number;
  /** From the request's head to the first octet of the answer's head; absent when there was no answer. */
  readonly firstByteMs?: number | undefined;
  /** Octets of heads and bodies over the connection to the origin, both ways. */
  readonly originBytes: number;
  readonly vmBytes: number;
  /** True when a VM failed it and the origin answered instead. */
  readonly wasReplayed: boolean;
  /** Why the client did not get a whole answer. */
  readonly failure?: string | undefined;
  /** Why it was not served, or its connection was not taken. */
  readonly limit?: LimitName | undefined;
}

export interface DataPlane extends Closable {
  /** The port in use. */
  readonly port: number;
  /** Replaces the routes at once: a request is served by one snapshot from its beginning to its end. */
  apply(snapshot: RouteSnapshot): void;
}

export const EMPTY_SNAPSHOT: RouteSnapshot = {
  routes: new Map(),
  tag: { name: 'Bng-API-Server', value: '' },
  showServedBy: false,
};
