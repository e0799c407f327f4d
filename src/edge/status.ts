import { type Origin, offloadPhase, sleeps } from '../gateway/routes.ts';
import { httpServerUrl } from '../platform/config/index.ts';
import type { Registry } from '../platform/telemetry/index.ts';
import type { Vm } from '../pool/schema.ts';
import type { Status } from './schema.ts';

/** What the origins' traffic came to, read from the same metrics that `/metrics` shows. */
export async function originStatus(
  origins: readonly Origin[],
  vms: readonly Vm[],
  registry: Registry,
): Promise<Status['origins']> {
  const requests = await readCounter(registry, 'orilla_gateway_requests_total');
  const bytes = await readCounter(registry, 'orilla_gateway_upstream_bytes_total');
  const firstByte = await readHistogram(registry, 'orilla_gateway_first_byte_seconds');
  const replays = await readCounter(registry, 'orilla_gateway_replays_total');
  return origins.map(({ name, hosts, upstream, offload }) => {
    const servedBy = (who: string) => requests({ origin: name, served_by: who });
    const carried = (by: string) => bytes({ origin: name, upstream: by });
    const own = vms.filter(({ owner }) => owner === name);
    const ready = own.filter((vm) => vm.phase === 'ready' || sleeps(vm));
    return {
      name,
      hosts: [...hosts],
      upstream: httpServerUrl(upstream),
      mayOffload: offload !== undefined,
      offload: offloadPhase(own),
      servedBy: ready.length > 0 ? ready.map((vm) => `vm/${vm.name}`) : ['origin'],
      requests: { origin: servedBy('origin'), vm: servedBy('vm'), gateway: servedBy('gateway') },
      bytes: { origin: carried('origin'), vm: carried('vm') },
      firstByteMs: {
        origin: firstByte({ origin: name, served_by: 'origin' }),
        vm: firstByte({ origin: name, served_by: 'vm' }),
      },
      replays: replays({ origin: name }),
    };
  });
}

type Labels = Readonly<Record<string, string>>;

/** A function that sums the counter's values whose labels match. */
async function readCounter(registry: Registry, name: string) {
  const samples = (await registry.getSingleMetric(name)?.get())?.values ?? [];
  return (labels: Labels): number => sum(samples, labels);
}

/** A function that gives the mean of the observations whose labels match, in ms; `undefined` when there are none. */
async function readHistogram(registry: Registry, name: string) {
  const samples: readonly (Sample & { metricName?: string })[] =
    (await registry.getSingleMetric(name)?.get())?.values ?? [];
  return (labels: Labels): number | undefined => {
    const total = (suffix: string) =>
      sum(
        samples.filter(({ metricName }) => metricName === `${name}_${suffix}`),
        labels,
      );
    const count = total('count');
    return count === 0 ? undefined : (1000 * total('sum')) / count;
  };
}

interface Sample {
  readonly labels: Readonly<Record<string, string | number | undefined>>;
  readonly value: number;
}

const sum = (samples: readonly Sample[], labels: Labels): number =>
  samples
    .filter((sample) => Object.entries(labels).every(([key, value]) => sample.labels[key] === value))
    .reduce((total, { value }) => total + value, 0);
