import type { Registry } from '../platform/telemetry/index.ts';
import type { Vm } from '../pool/schema.ts';
import type { EdgeConfig } from './config.ts';
import type { Status } from './schema.ts';

/** What the origins' traffic came to, read from the same metrics that `/metrics` shows. */
export async function originStatus(
  config: EdgeConfig,
  vms: readonly Vm[],
  registry: Registry,
): Promise<Status['origins']> {
  const requests = await readCounter(registry, 'orilla_gateway_requests_total');
  const bytes = await readCounter(registry, 'orilla_gateway_upstream_bytes_total');
  const replays = await readCounter(registry, 'orilla_gateway_replays_total');
  return Object.entries(config.gateway.origins).map(([name, { hosts, upstream, offload }]) => {
    const servedBy = (who: string) => requests({ origin: name, served_by: who });
    const carried = (by: string) => bytes({ origin: name, upstream: by });
    const ready = vms.filter((vm) => vm.owner === name && vm.phase === 'ready');
    return {
      name,
      hosts,
      upstream: `${upstream.isTls ? 'https' : 'http'}://${upstream.authority}`,
      mayOffload: offload !== undefined,
      servedBy: ready.length > 0 ? ready.map((vm) => `vm/${vm.name}`) : ['origin'],
      requests: { origin: servedBy('origin'), vm: servedBy('vm'), gateway: servedBy('gateway') },
      bytes: { origin: carried('origin'), vm: carried('vm') },
      replays: replays({ origin: name }),
    };
  });
}

/** A function that sums the counter's values whose labels match. */
async function readCounter(registry: Registry, name: string) {
  const metric = await registry.getSingleMetric(name)?.get();
  return (labels: Readonly<Record<string, string>>): number =>
    (metric?.values ?? [])
      .filter((sample) => Object.entries(labels).every(([key, value]) => sample.labels[key] === value))
      .reduce((sum, { value }) => sum + value, 0);
}
