import { describe, expect, it } from 'vitest';
import type { Log } from '../../platform/telemetry/index.ts';
import { silentLog } from '../../platform/telemetry/index.ts';
import { poolError } from '../../pool/index.ts';
import type { Vm } from '../../pool/schema.ts';
import type { Origin } from './origin.ts';
import { OrphanedVms } from './orphaned-vms.ts';

const vm = (name: string, owner: string, phase: Vm['phase'] = 'ready') => ({ name, owner, phase });
const photos: Origin = {
  name: 'photos',
  hosts: ['photos.example'],
  upstream: { host: '192.0.2.7', port: 80, isTls: false, authority: '192.0.2.7' },
  offload: { maxVms: 8, imageHosts: [], sshKeys: [], applicationKeys: [] },
  source: 'command',
  isRotating: false,
};

function orphansAmong(vms: ReturnType<typeof vm>[], origins: readonly Origin[], log: Log = silentLog) {
  const removals: { name: string; end: PromiseWithResolvers<void> }[] = [];
  const orphans = new OrphanedVms({
    log,
    pool: {
      list: () => vms,
      remove: (name) => {
        const end = Promise.withResolvers<void>();
        removals.push({ name, end });
        return end.promise;
      },
    },
    origins: { find: (name) => origins.find((origin) => origin.name === name) },
  });
  return { orphans, removals, removed: () => removals.map(({ name }) => name) };
}

describe('VMs without an origin', () => {
  it('are stopped, and no others: those whose origin is gone, and those whose origin may load none any more', () => {
    const tagged: Origin = { ...photos, name: 'tagged', offload: undefined };
    const vms = [
      vm('a', 'photos'),
      vm('b', 'gone'),
      vm('c', 'tagged', 'failed'),
      vm('d', 'gone', 'stopping'),
    ];
    const { orphans, removed } = orphansAmong(vms, [photos, tagged]);
    orphans.stop();
    expect(removed()).toEqual(['b', 'c']);
  });

  it('are stopped once, however often they are seen meanwhile', async () => {
    const { orphans, removals, removed } = orphansAmong([vm('a', 'gone')], []);
    orphans.stop();
    orphans.stop();
    expect(removed()).toEqual(['a']);
    removals[0]?.end.resolve();
    await orphans.close();
    orphans.stop();
    expect(removed()).toEqual(['a']);
  });

  it('are no fault when they went by themselves, and a record in the log when they cannot be stopped', async () => {
    const messages: string[] = [];
    const log: Log = { ...silentLog, error: (_fields, message) => void messages.push(message) };
    const { orphans, removals } = orphansAmong([vm('a', 'gone'), vm('b', 'gone')], [], log);
    orphans.stop();
    removals[0]?.end.reject(poolError('vm_not_found', 'no VM is named a'));
    removals[1]?.end.reject(new Error('the disk is full'));
    await orphans.close();
    expect(messages).toEqual(['a VM whose origin is gone was not stopped']);
  });
});
