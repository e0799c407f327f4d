import { beforeEach, describe, expect, test } from 'vitest';
import { InstantHypervisor } from '../../test/support/instant-hypervisor.ts';
import { ManualClock } from '../base/index.ts';
import { silentLog } from '../platform/telemetry/index.ts';
import { poolError } from './errors.ts';
import type { StoredImage } from './images/image-store.ts';
import { VersionedVm } from './versioned-vm.ts';
import { VmSupervisor } from './vm-supervisor.ts';
import type { VmRecord } from './vm-table.ts';
import { firstVersion } from './vm-versions.ts';

const MANIFEST = { name: 'x', http: { port: 80, readyPath: '/' }, minimumMemoryBytes: 1 };
const wanted = (imageRef: string) => ({
  imageRef,
  imageDigest: `sha256:${imageRef}`,
  configuration: { cpus: 1, memoryBytes: 100, diskBytes: 0 },
  ownerNote: '',
});

let clock: ManualClock;
let vm: VersionedVm;
let hypervisor: InstantHypervisor;
/** Images whose guests do not answer. */
let mute: Set<string>;
let saved: Pick<VmRecord, 'versions' | 'suspendedBy'>[];
let quiet: () => Promise<void>;
let checkRoom: () => void;
let sharesDisks: boolean;
let fetched: Promise<void>;
/** The versions for which the disks were made ready: current and next. */
let settled: string[];

beforeEach(async () => {
  clock = new ManualClock();
  hypervisor = new InstantHypervisor(clock);
  mute = new Set();
  saved = [];
  quiet = async () => undefined;
  checkRoom = () => undefined;
  sharesDisks = false;
  fetched = Promise.resolve();
  settled = [];
  vm = new VersionedVm(
    {
      clock,
      log: silentLog,
      supervise: (spec, onChange, alone) =>
        new VmSupervisor(
          {
            clock,
            log: silentLog,
            hypervisor,
            probe: async (_clock, { host }) => !mute.has(host),
            fetchImage: async ({ imageDigest = '' }) => {
              await fetched;
              if (imageDigest === 'sha256:missing') throw poolError('image_not_found', 'it is nowhere');
              return { digest: imageDigest, manifest: MANIFEST } as StoredImage;
            },
            prepareDisks: async () => [],
            recordMachine: async () => undefined,
            saved: hypervisor.saved,
            alone,
            furnish: async () => undefined,
            onChange,
          },
          spec,
          20_000,
        ),
      save: async (vmRecord) => void saved.push(vmRecord),
      quiet: () => quiet(),
      sharesDisks: () => sharesDisks,
      settleDisks: async ({ current, next }) => {
        settled.push(`${current.version}:${next?.version ?? ''} ${running().join()}`.trim());
      },
      costOf: ({ memoryBytes }) => memoryBytes + 1,
      checkRoom: () => checkRoom(),
      forgetSaved: async () => undefined,
      onChange: () => undefined,
    },
    { name: 'photos', owner: 'photos', createdAtMs: 0, versions: firstVersion(wanted('one')) },
  );
  vm.start();
  await clock.advance(100);
});

const wish = (imageRef: string) => vm.change(() => ({ event: { kind: 'wished', wanted: wanted(imageRef) } }));
const running = () => [...hypervisor.machines.keys()].sort().map((digest) => digest.replace('sha256:', ''));
const serving = () => vm.describe().addresses?.map(({ host }) => host.replace('sha256:', ''));

describe('a VM that gets a new version', () => {
  test('serves from the old one until the new one is ready, then from the new one', async () => {
    mute.add('sha256:two');
    await wish('two');
    await clock.advance(5000);
    expect(running()).toEqual(['one', 'two']);
    expect(serving()).toEqual(['one']);
    expect(vm.describe()).toMatchObject({ version: 1, next: { version: 2, phase: 'starting' } });
    mute.clear();
    // It is asked less often by now.
    await clock.advance(500);
    expect(serving()).toEqual(['two']);
    expect(vm.describe()).toMatchObject({ version: 2, previous: { version: 1 } });
    expect(vm.describe().next).toBeUndefined();
  });

  test('lets the old machine go on for 30 s with what it has to do, and counts its memory as long', async () => {
    await wish('two');
    await clock.advance(100);
    await clock.advance(29_000);
    expect(running()).toEqual(['one', 'two']);
    expect(vm.taken.memoryBytes).toBe(200);
    await clock.advance(1000);
    expect(running()).toEqual(['two']);
    expect(vm.taken.memoryBytes).toBe(100);
  });

  test('is started again as soon, and drains as long, when the clock is set meanwhile', async () => {
    for (const byMs of [-5 * 3_600_000, 24 * 3_600_000]) {
      hypervisor.machines.get('sha256:one')?.dies('killed');
      clock.set(byMs);
      await clock.advance(1000);
      expect(serving()).toEqual(['one']);
    }
    await wish('two');
    await clock.advance(100);
    clock.set(-5 * 3_600_000);
    await clock.advance(30_000);
    expect(running()).toEqual(['two']);
  });

  test('does not start an old machine again that dies while it drains', async () => {
    await wish('two');
    await clock.advance(100);
    hypervisor.machines.get('sha256:one')?.dies('killed');
    await clock.advance(5000);
    expect(running()).toEqual(['two']);
  });

  test('goes on with the old one when the new one fails, and says why', async () => {
    await wish('missing');
    await clock.advance(100);
    expect(serving()).toEqual(['one']);
    expect(vm.describe()).toMatchObject({
      version: 1,
      failedVersion: { version: 2, imageRef: 'missing', reason: 'it is nowhere' },
    });
    expect(saved.at(-1)?.versions.next).toBeUndefined();
    await wish('two');
    await clock.advance(100);
    expect(vm.describe()).toMatchObject({ version: 3 });
    expect(vm.describe().failedVersion).toBeUndefined();
  });

  test('keeps the wish before it starts anything', async () => {
    const wishing = wish('two');
    expect(saved).toEqual([]);
    await wishing;
    expect(saved).toMatchObject([{ versions: { current: { version: 1 }, next: { version: 2 } } }]);
  });

  test('ends at once a next one that another takes the place of', async () => {
    mute.add('sha256:two');
    await wish('two');
    await clock.advance(100);
    await wish('three');
    await clock.advance(100);
    expect(serving()).toEqual(['three']);
    expect(running()).toEqual(['one', 'three']);
  });

  test('brings the new one up also where the old one never served', async () => {
    hypervisor.machines.get('sha256:one')?.dies('killed');
    mute.add('sha256:one');
    await clock.advance(100);
    await wish('two');
    await clock.advance(100);
    expect(serving()).toEqual(['two']);
    expect(running()).toEqual(['two']);
  });

  test('is ended with all of its machines, and takes no wish any more', async () => {
    await wish('two');
    await clock.advance(100);
    let forgotten = 0;
    await vm.end(async () => void (forgotten += 1));
    expect(forgotten).toBe(1);
    expect(running()).toEqual([]);
    expect(clock.pendingTimers).toBe(0);
    await expect(wish('three')).rejects.toMatchObject({ code: 'vm_conflict' });
  });
});

describe('a VM that is suspended', () => {
  test('has no machine and takes no memory, is written down first, and goes on from what it was', async () => {
    await vm.suspend('operator');
    expect(saved.at(-1)).toMatchObject({ suspendedBy: 'operator' });
    expect(vm.describe()).toMatchObject({ phase: 'suspended', suspendedBy: 'operator' });
    expect([running(), vm.taken.memoryBytes]).toEqual([[], 0]);

    await vm.resume();
    expect(saved.at(-1)?.suspendedBy).toBeUndefined();
    await clock.advance(100);
    expect(serving()).toEqual(['one']);
    expect(hypervisor.restored).toEqual(['saved-1']);
    expect(vm.describe().suspendedBy).toBeUndefined();
  });

  test('is suspended only once nobody uses it any more', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    quiet = () => promise;
    const suspended = vm.suspend('idleness');
    await clock.advance(5000);
    expect([vm.describe().phase, running()]).toEqual(['suspending', ['one']]);
    resolve();
    await suspended;
    expect([vm.describe().phase, running()]).toEqual(['suspended', []]);
  });

  test('for idleness, is woken by a request, and until it is ready it is told that it was asleep', async () => {
    await vm.suspend('idleness');
    mute.add('sha256:one');
    vm.wake();
    vm.wake();
    await clock.advance(100);
    expect(vm.describe()).toMatchObject({ phase: 'starting', suspendedBy: 'idleness' });
    mute.clear();
    await clock.advance(100);
    expect(vm.describe().suspendedBy).toBeUndefined();
    expect(serving()).toEqual(['one']);
  });

  test('by the operator, is not woken by a request', async () => {
    await vm.suspend('operator');
    vm.wake();
    await clock.advance(1000);
    expect(vm.describe().phase).toBe('suspended');
  });

  test("for idleness, and then by the operator, is the operator's to bring back", async () => {
    await vm.suspend('idleness');
    await vm.suspend('operator');
    vm.wake();
    await clock.advance(1000);
    expect(vm.describe()).toMatchObject({ phase: 'suspended', suspendedBy: 'operator' });
  });

  test('says why there is no room to bring it back, and is tried again ten seconds later', async () => {
    await vm.suspend('idleness');
    checkRoom = () => {
      throw poolError('configuration_too_large', 'no memory is left');
    };
    vm.wake();
    await clock.advance(0);
    expect(vm.describe()).toMatchObject({ phase: 'suspended', reason: 'no memory is left' });
    checkRoom = () => undefined;
    vm.wake();
    await clock.advance(5000);
    expect(vm.describe().phase).toBe('suspended');
    await clock.advance(5000);
    vm.wake();
    await clock.advance(100);
    expect(serving()).toEqual(['one']);
  });

  test('that cannot be, serves on, and whoever asked is told why', async () => {
    hypervisor.isStubborn = true;
    await expect(vm.suspend('operator')).rejects.toMatchObject({ code: 'machine_failed' });
    expect(vm.describe().suspendedBy).toBeUndefined();
    expect(saved.at(-1)?.suspendedBy).toBeUndefined();
    expect(serving()).toEqual(['one']);
    hypervisor.isStubborn = false;
    await vm.suspend('operator');
    expect(vm.describe().phase).toBe('suspended');
  });

  test('is refused while it does not serve, or another version is on its way', async () => {
    mute.add('sha256:two');
    await wish('two');
    await expect(vm.suspend('operator')).rejects.toMatchObject({ code: 'vm_conflict' });
    mute.add('sha256:one');
    await vm.change(() => ({ event: { kind: 'rolled_back' } }));
    hypervisor.machines.get('sha256:one')?.dies('killed');
    await clock.advance(1000);
    await expect(vm.suspend('operator')).rejects.toMatchObject({ code: 'vm_not_ready' });
  });

  test('whose machine dies meanwhile is started again', async () => {
    quiet = async () => {
      hypervisor.machines.get('sha256:one')?.dies('killed');
      hypervisor.isStubborn = true;
    };
    await expect(vm.suspend('idleness')).rejects.toThrow();
    await clock.advance(1000);
    expect(serving()).toEqual(['one']);
    expect(vm.describe().restarts).toBe(1);
  });

  test('that gets a new version serves from that', async () => {
    await vm.suspend('operator');
    await wish('two');
    await clock.advance(100);
    expect(serving()).toEqual(['two']);
    expect(vm.describe().suspendedBy).toBeUndefined();
    expect(saved.at(-1)).toMatchObject({ versions: { current: { version: 2 } }, suspendedBy: undefined });
  });
});

describe('a VM with a disk that gets a new version', () => {
  beforeEach(() => {
    sharesDisks = true;
    settled = [];
  });

  test('has one machine at a time: the old one ends, then the disk is kept, then the new one starts [desktop D17]', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    quiet = () => promise;
    await wish('two');
    await clock.advance(5000);
    expect([running(), settled]).toEqual([['one'], []]);
    resolve();
    await clock.advance(0);
    expect(settled[0]).toBe('1:2');
    await clock.advance(100);
    expect(running()).toEqual(['two']);
    expect(vm.describe()).toMatchObject({ version: 2, phase: 'ready', previous: { version: 1 } });
    // It went well, and what was kept may go.
    expect(settled.at(-1)).toMatch(/^2:/);
  });

  test('is told to be on its way as the version that serves, with the next one beside it', async () => {
    mute.add('sha256:two');
    await wish('two');
    await clock.advance(1000);
    expect(vm.describe()).toMatchObject({
      version: 1,
      phase: 'starting',
      next: { version: 2, phase: 'starting' },
    });
    expect(serving()).toBeUndefined();
    // Nobody can do anything in the guest of a version that does not run.
    expect(vm.hold()).toBeUndefined();
    await expect(vm.snapshot('folder')).rejects.toMatchObject({ code: 'vm_conflict' });
    await expect(vm.resume()).rejects.toMatchObject({ code: 'vm_conflict' });
  });

  test('serves from the old one until the image of the new one is there', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    fetched = promise;
    await wish('two');
    await clock.advance(5000);
    expect([running(), serving(), settled]).toEqual([['one'], ['one'], []]);
    resolve();
    await clock.advance(100);
    expect(serving()).toEqual(['two']);
  });

  test('goes back to the old one, with the disk as it was, when the new one fails', async () => {
    mute.add('sha256:two');
    await wish('two');
    await clock.advance(5000);
    expect(running()).toEqual(['two']);
    for (let attempt = 0; attempt < 6; attempt += 1) {
      hypervisor.machines.get('sha256:two')?.dies('it broke');
      await clock.advance(30_000);
    }
    expect(settled.at(-1)).toMatch(/^1:/);
    expect(serving()).toEqual(['one']);
    expect(vm.describe()).toMatchObject({ version: 1, phase: 'ready', failedVersion: { version: 2 } });
  });
});
