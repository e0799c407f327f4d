import type { Vm } from '../../../src/pool/schema.ts';
import type { HostTraces } from './host-traces.ts';

/**
 * What belongs to nobody, or is missing, on a host whose VMs are all ready or suspended: one sentence or path each.
 *
 * @param workers how many there are to be.
 */
export function orphans(host: HostTraces, vms: readonly Vm[], workers: number): string[] {
  const machines = host.look();
  const pids = new Set(vms.flatMap(({ pid }) => pid ?? []));
  const found = new Set(machines.map(({ pid }) => pid));
  const ids = new Set(machines.map(({ id }) => id));
  const names = new Set(vms.map(({ name }) => name));
  const saved = new Set(
    vms.flatMap(({ name, version, phase }) => [
      `${name}/snapshots`,
      ...(phase === 'suspended' ? [`${name}/suspended-${version}`] : []),
    ]),
  );
  return [
    ...machines.filter(({ pid }) => !pids.has(pid)).map(({ id }) => `the QEMU ${id}`),
    ...[...pids].filter((pid) => !found.has(pid)).map((pid) => `no QEMU is ${pid}`),
    ...host.orphanedLinks().map((link) => `the link ${link}`),
    ...(host.workers().length === workers ? [] : [`there are ${host.workers().length} workers`]),
    ...below(host, 'run', (id) => ids.has(id)),
    ...below(host, 'vms', (name) => names.has(name)),
    ...below(host, 'images', (name) => !name.startsWith('.')),
    ...below(host, 'templates', (key) => host.namesIn('templates', key).includes('template.json')),
    ...below(host, 'saved', (name) => names.has(name)),
    ...[...names].flatMap((name) => below(host, `saved/${name}`, (entry) => saved.has(`${name}/${entry}`))),
    ...[...names].flatMap((name) =>
      below(host, `saved/${name}/snapshots`, (label) =>
        host.namesIn('saved', name, 'snapshots', label).includes('snapshot.json'),
      ),
    ),
  ];
}

const below = (host: HostTraces, folder: string, isWanted: (name: string) => boolean): string[] =>
  host
    .namesIn(folder)
    .filter((name) => !isWanted(name))
    .map((name) => `${folder}/${name}`);
