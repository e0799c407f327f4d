import { describe, expect, it } from 'vitest';
import type { Vm } from '../pool/schema.ts';
import { noteOf, offloadPhase, routeSnapshot } from './offload.ts';

const upstream = { host: '192.0.2.7', port: 80, isTls: false };
const sites = [
  { origin: 'photos', hosts: ['photos.example', 'www.photos.example'], upstream },
  { origin: 'news', hosts: ['news.example'], upstream },
];
const constants = {
  edgeDomain: 'edge.example',
  tag: { name: 'Bng-API-Server', value: '192.0.2.1' },
  showServedBy: true,
  assignedServer: (vmName: string) => ({ value: `${vmName}.edge.example` }),
} as const;
const vm = (name: string, phase: Vm['phase'], owner = 'photos'): Vm => ({
  name,
  owner,
  phase,
  version: 1,
  imageRef: 'x',
  configuration: { cpus: 1, memoryBytes: 1, diskBytes: 0 },
  ownerNote: '',
  createdAtMs: 0,
  sinceMs: 0,
  restarts: 0,
  ...(phase === 'ready' && { addresses: [{ host: '127.0.0.1', port: 4000 }] }),
});

describe('the routes', () => {
  it('lead to the origin until a VM of its own is ready, and to the VM from then on [gateway G10] [gateway G16]', () => {
    for (const phase of ['fetching', 'starting', 'waiting', 'failed', 'stopping'] as const) {
      const { routes } = routeSnapshot(sites, [vm('a', phase)], constants);
      expect(routes.get('photos.example')?.vms, phase).toEqual([]);
    }
    const { routes } = routeSnapshot(sites, [vm('a', 'ready')], constants);
    for (const host of sites[0]?.hosts ?? []) {
      expect(routes.get(host)?.vms).toEqual([{ name: 'a', host: '127.0.0.1', port: 4000, isTls: false }]);
    }
  });

  it('name the VM that runs here to its origin, and to no other [gateway G12]', () => {
    const { routes } = routeSnapshot(sites, [vm('b', 'starting'), vm('a', 'ready')], constants);
    expect(routes.get('photos.example')?.assignedServer).toEqual({ value: 'a.edge.example' });
    expect(routes.get('b.edge.example')?.assignedServer).toEqual({ value: 'a.edge.example' });
    expect(routes.get('news.example')?.assignedServer).toBeUndefined();
  });

  it('lead to the origin while a VM waits for its application, and name that VM to it [gateway G12] [gateway G13]', () => {
    const bare = { ...vm('a', 'ready'), ownerNote: noteOf({ needs: 'application' }) };
    const before = routeSnapshot(sites, [bare], constants).routes.get('photos.example');
    expect(before).toMatchObject({ vms: [], assignedServer: { value: 'a.edge.example' } });
    const asleep = { ...bare, phase: 'suspended', suspendedBy: 'idleness' } as const;
    expect(routeSnapshot(sites, [asleep], constants).routes.get('photos.example')).toMatchObject({
      asleep: [],
      assignedServer: { value: 'a.edge.example' },
    });
    const application = { name: 'notes', version: '1', digest: 'sha256:0' };
    const after = routeSnapshot(sites, [{ ...bare, application }], constants).routes.get('photos.example');
    expect(after?.vms).toMatchObject([{ name: 'a' }]);
  });

  it('never lead to the VM of another origin', () => {
    const { routes } = routeSnapshot(sites, [vm('a', 'ready', 'news')], constants);
    expect(routes.get('photos.example')?.vms).toEqual([]);
    expect(routes.get('news.example')?.vms).toHaveLength(1);
  });

  it('give each VM a name under the edge domain, behind which its origin answers while it cannot [gateway G8]', () => {
    const { routes } = routeSnapshot(sites, [vm('a', 'ready'), vm('b', 'starting')], constants);
    expect(routes.get('a.edge.example')).toMatchObject({
      originHost: 'photos.example',
      vms: [{ name: 'a' }],
    });
    expect(routes.get('b.edge.example')).toMatchObject({ origin: 'photos', upstream, vms: [] });
  });

  it('hold several VMs of one origin, and many origins [gateway G17]', () => {
    const { routes } = routeSnapshot(sites, [vm('a', 'ready'), vm('b', 'ready')], constants);
    expect(routes.get('photos.example')?.vms.map(({ name }) => name)).toEqual(['a', 'b']);
    expect(routes.get('news.example')?.vms).toEqual([]);
  });
});

describe("an origin's offload", () => {
  it('is as far as the VM that is furthest', () => {
    const of = (...phases: Vm['phase'][]) => offloadPhase(phases.map((phase) => ({ phase })));
    expect(of()).toBe('origin');
    expect(of('fetching')).toBe('fetching');
    expect(of('failed', 'starting', 'fetching')).toBe('starting');
    expect(of('waiting', 'ready')).toBe('ready');
    expect(of('failed', 'stopping')).toBe('stopping');
  });
});
