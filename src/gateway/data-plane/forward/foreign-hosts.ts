import { isIP } from 'node:net';
import type { Clock, Random } from '../../../base/index.ts';
import { addressKind, inSubnets } from '../../../platform/sockets/index.ts';
import { signingKeyFrom } from '../../tag-key.ts';
import type { ForeignRules, RouteSnapshot } from '../data-plane.ts';
import { type LiveRoute, liveRoute, type OriginLoad } from '../live-route.ts';
import { type AddressRule, addressRule, checkedLookup } from './address-rule.ts';
import { HostList } from './host-list.ts';
import type { NameResolver } from './name-resolver.ts';

/** Where a foreign host is asked. */
export interface ForeignTarget {
  /** Lower case, an IPv6 address in brackets. */
  readonly hostName: string;
  readonly port: number;
  /** The port of the protocol: 80, or 443 for what is passed on as it is. */
  readonly defaultPort: number;
}

/** Hosts with requests under way are always known; those without are forgotten beyond so many. */
const IDLE_HOST_LIMIT = 4096;

const NO_RULES: ForeignRules = { allow: [], privateNetworks: [] };

/**
 * Hosts that are no sites of this gateway, asked on behalf of clients who named them: which of them may be asked, by whom, and
 * how. What goes there carries the tag, signed by the gateway's own key [gateway G1].
 */
export class ForeignHosts {
  readonly #deps: { readonly clock: Clock; readonly random: Random };
  readonly #resolver: NameResolver;
  readonly #label: string;
  readonly #loads = new Map<string, OriginLoad>();
  #clients: AddressRule = () => false;
  #hosts = new HostList([]);
  #addresses: AddressRule = () => false;
  #template: LiveRoute | undefined;
  /** How this gateway names itself in `Via`, by which a request that comes round again is known (RFC 9110 §7.6.3). */
  pseudonym = '';

  /** @param label stands for the origin's name in metrics; no origin can have it. */
  constructor(
    deps: { readonly clock: Clock; readonly random: Random },
    resolver: NameResolver,
    label: '(forward)' | '(transparent)',
  ) {
    this.#deps = deps;
    this.#resolver = resolver;
    this.#label = label;
  }

  apply({ tag, gatewayKey }: RouteSnapshot, rules: ForeignRules = NO_RULES): void {
    const { allow, clients, privateNetworks } = rules;
    this.#clients = clients ? inSubnets(clients) : (address) => addressKind(address) === 'local';
    this.#hosts = new HostList(allow);
    this.#addresses = addressRule(privateNetworks);
    const signingKey = gatewayKey && signingKeyFrom(gatewayKey);
    this.pseudonym = `orilla-${signingKey?.keyId.slice(0, 16) ?? ''}`;
    const via = `Via: 1.1 ${this.pseudonym}\r\n`;
    const lookup = checkedLookup((name) => this.#resolver.resolve(name), this.#addresses);
    const upstream = { host: '', port: 0, isTls: false, lookup, realm: this.#label };
    const route = { origin: this.#label, upstream, signingKey, vms: [] };
    const live = liveRoute(this.#deps, route, tag, { active: 0 });
    this.#template = {
      ...live,
      isForeign: true,
      tagLines: (method, authority, path) => via + live.tagLines(method, authority, path),
    };
  }

  /** Whether this client may ask. */
  admits(address: string): boolean {
    return this.#clients(address);
  }

  /** The way to a host; `undefined` when it may not be asked. */
  routeTo(target: ForeignTarget, isTunnel: boolean): LiveRoute | undefined {
    const { hostName, port, defaultPort } = target;
    if (!this.#template || !this.#hosts.allows(hostName, port, defaultPort)) return undefined;
    const host = hostName.replace(/^\[|\]$/g, '');
    // An address is connected to without being looked up.
    const isRefused = isLiteral(hostName) && !this.#addresses(host) && !this.#isOpened(host, target);
    if (isRefused) return undefined;
    const { upstream } = this.#template;
    return {
      ...this.#template,
      upstream: { ...upstream, host, port },
      load: this.#loadOf(`${hostName}:${port}`),
      isTunnel,
    };
  }

  /** An address of a network of ours that stands on the list itself. */
  #isOpened(address: string, { hostName, port, defaultPort }: ForeignTarget): boolean {
    return addressKind(address) === 'local' && this.#hosts.names(hostName, port, defaultPort);
  }

  #loadOf(host: string): OriginLoad {
    const known = this.#loads.get(host);
    if (known) return known;
    if (this.#loads.size >= IDLE_HOST_LIMIT) {
      for (const [key, { active }] of this.#loads) if (active === 0) this.#loads.delete(key);
    }
    const load = { active: 0 };
    this.#loads.set(host, load);
    return load;
  }
}

const isLiteral = (hostName: string): boolean => isIP(hostName.replace(/^\[|\]$/g, '')) !== 0;
