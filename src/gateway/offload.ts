/**
 * Which requests a VM serves instead of its origin. Derived, never stored: an origin is offloaded while one of its VMs is
 * ready, and at every other moment (before, between, after a crash) it serves itself.
 * @module
 */
import type { Vm } from '../pool/schema.ts';
import type { Route, RouteSnapshot, Upstream, VmUpstream } from './data-plane/data-plane.ts';
import { type Scope, scopeSchema } from './schema.ts';
import type { AssignedServer, Tag } from './tag.ts';
import type { TagKey } from './tag-key.ts';

/** A site whose traffic passes here. */
export interface Site {
  /** The origin's name. */
  readonly origin: string;
  /** Host names, lower case; the first is the one that the origin knows itself by. */
  readonly hosts: readonly string[];
  readonly upstream: Upstream;
  /** By which the tag is signed for it. */
  readonly signingKey?: TagKey | undefined;
}

/** The routes at this moment: each site's hosts, and `<vm>.<edge domain>` for each of its VMs [gateway G10]. */
export function routeSnapshot(
  sites: readonly Site[],
  vms: readonly Vm[],
  constants: {
    readonly edgeDomain: string;
    readonly tag: Tag;
    readonly showServedBy: boolean;
    /** How a VM is named to its origin. */
    readonly assignedServer: (vmName: string) => AssignedServer;
  },
): RouteSnapshot {
  const routes = new Map<string, Route>();
  for (const { origin, hosts, upstream, signingKey } of sites) {
    const own = vms.filter(({ owner }) => owner === origin);
    const ready = own.flatMap(vmUpstream);
    const asleep = own
      .filter((vm) => sleeps(vm) && hasWhatItNeeds(vm))
      .map((vm) => ({ name: vm.name, scope: scopeOf(vm) }));
    const running = own.find(({ phase }) => phase === 'ready') ?? own.find(sleeps);
    const site = {
      origin,
      upstream,
      signingKey,
      assignedServer: running && constants.assignedServer(running.name),
    };
    for (const host of hosts) routes.set(host, { ...site, vms: ready, asleep });
    for (const vm of own) {
      const host = vmHost(vm.name, constants.edgeDomain);
      const itself = asleep.filter(({ name }) => name === vm.name);
      routes.set(host, { ...site, originHost: hosts[0], vms: vmUpstream(vm), asleep: itself });
    }
  }
  return { routes, tag: constants.tag, showServedBy: constants.showServedBy };
}

/** How far an origin's offload is: that of its VM that is furthest; `origin` while it has none. */
export type OffloadPhase = Vm['phase'] | 'origin';

/** The furthest first. */
const ORDER: readonly Vm['phase'][] = [
  'ready',
  'suspending',
  'suspended',
  'starting',
  'fetching',
  'waiting',
  'stopping',
  'failed',
];

export const offloadPhase = (own: readonly Pick<Vm, 'phase'>[]): OffloadPhase =>
  ORDER.find((phase) => own.some((vm) => vm.phase === phase)) ?? 'origin';

/** Whether the next request brings it back. What could not be brought back is not tried with every request. */
export const sleeps = ({ phase, suspendedBy, reason }: Vm): boolean =>
  suspendedBy === 'idleness' &&
  (phase === 'suspending' || (phase === 'suspended' && reason === undefined) || phase === 'starting');

export const vmHost = (vmName: string, edgeDomain: string): string => `${vmName}.${edgeDomain}`;

/** One upstream for each address of the VM: as requests take upstreams in turn, they are spread over all of them. */
function vmUpstream(vm: Vm): VmUpstream[] {
  if (vm.phase !== 'ready' || !hasWhatItNeeds(vm)) return [];
  const scope = scopeOf(vm);
  return (vm.addresses ?? []).map(({ host, port }) => ({ name: vm.name, isTls: false, host, port, scope }));
}

/** Whether there is anything in it to serve. */
const hasWhatItNeeds = (vm: Vm): boolean =>
  scopeOf(vm)?.needs !== 'application' || vm.application !== undefined;

/** The scope is the gateway's note on its VM. */
export const noteOf = (scope: Scope | undefined): string => (scope ? JSON.stringify(scope) : '');

export const scopeOf = ({ ownerNote }: Pick<Vm, 'ownerNote'>): Scope | undefined =>
  ownerNote === '' ? undefined : scopeSchema.parse(JSON.parse(ownerNote));
