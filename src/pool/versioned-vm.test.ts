import { beforeEach, describe, expect, test } from 'vitest';
import { ManualClock, systemRandom } from '../base/index.ts';
import { silentLog } from '../platform/telemetry/index.ts';
import { poolError } from './errors.ts';
import type { Hypervisor, StartedMachine } from './hypervisor/hypervisor.ts';
import type { StoredImage } from './images/image-store.ts';
import { VersionedVm } from './versioned-vm.ts';
import { VmSupervisor } from './vm-supervisor.ts';
import { firstVersion, type VmVersions } from './vm-versions.ts';

const MANIFEST = { name: 'x', http: { port: 80, readyPath: '/' }, minimumMemoryBytes: 1 };
const wanted = (imageRef: string) => ({
  imageRef,
  imageDigest: `sha256:${imageRef}`,
  configuration: { cpus: 1, memoryBytes: 100, diskBytes: 0 },
  ownerNote: '',
});

let clock: ManualClock;
let vm: VersionedVm;
/** What runs, by its image. */
let machines: Map<string, { dies: (reason: string) => void }>;
/** Images whose guests do not answer. */
let mute: Set<string>;
let saved: VmVersions[];

/** Machines that are ready at the first look. */
const hypervisor: Hypervisor = {
  start: async ({ image }) => {
    const { promise: exited, resolve } = Promise.withResolvers<string>();
    const name = image.digest;
    machines.set(name, { dies: resolve });
    const machine: StartedMachine = {
      id: name,
      pid: 1,
      startedAtMs: clock.monotonicMs(),
      addresses: [{ host: name, port: 80 }],
      accelerator: 'tcg',
      commandSocket: undefined,
      exited,
      stop: async () => void machines.delete(name),
    };
    return machine;
  },
  takeOver: async () => ({ machines: [], endedCount: 0 }),
  consoleTail: async () => '',
};

beforeEach(async () => {
  clock = new ManualClock();
  machines = new Map();
  mute = new Set();
  saved = [];
  vm = new VersionedVm(
    {
      clock,
      log: silentLog,
      supervise: (spec, onChange) =>
        new VmSupervisor(
          {
            clock,
            random: systemRandom,
            log: silentLog,
            hypervisor,
            probe: async (_clock, { host }) => !mute.has(host),
            fetchImage: async ({ imageDigest = '' }) => {
              if (imageDigest === 'sha256:missing') throw poolError('image_not_found', 'it is nowhere');
              return { digest: imageDigest, manifest: MANIFEST } as StoredImage;
            },
            recordMachine: async () => undefined,
            furnish: async () => undefined,
            onChange,
          },
          spec,
          20_000,
        ),
      save: async (versions) => void saved.push(versions),
      onChange: () => undefined,
    },
    { name: 'photos', owner: 'photos', createdAtMs: 0, versions: firstVersion(wanted('one')) },
  );
  vm.start();
  await clock.advance(100);
});

const wish = (imageRef: string) => vm.change(() => ({ event: { kind: 'wished', wanted: wanted(imageRef) } }));
const running = () => [...machines.keys()].sort().map((digest) => digest.replace('sha256:', ''));
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
    await clock.advance(100);
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

  test('does not start an old machine again that dies while it drains', async () => {
    await wish('two');
    await clock.advance(100);
    machines.get('sha256:one')?.dies('killed');
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
    expect(saved.at(-1)?.next).toBeUndefined();
    await wish('two');
    await clock.advance(100);
    expect(vm.describe()).toMatchObject({ version: 3 });
    expect(vm.describe().failedVersion).toBeUndefined();
  });

  test('keeps the wish before it starts anything', async () => {
    const wishing = wish('two');
    expect(saved).toEqual([]);
    await wishing;
    expect(saved).toMatchObject([{ current: { version: 1 }, next: { version: 2 } }]);
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
    machines.get('sha256:one')?.dies('killed');
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
