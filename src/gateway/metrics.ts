import type { Metric, Registry } from '../platform/telemetry/index.ts';
import type { ServedBy } from './data-plane/data-plane.ts';
import { FIRST_BYTE_BUCKETS_S, type OriginTally, type ServerTally, type Tally } from './data-plane/tally.ts';

interface Sample {
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
  /** In place of the metric's own name. */
  readonly metricName?: string;
}

/**
 * Shows what the data plane has counted. The counts are made in other processes, so that they are read out of a tally instead of
 * being made here. Labels are names of origins and fixed words: their number is bounded.
 */
export function showTally(registry: Registry, tally: Tally): void {
  const showAll = (type: 'counter' | 'histogram', name: string, help: string, samples: () => Sample[]) => {
    const metric = {
      name,
      help,
      type,
      aggregator: 'sum',
      get: async () => ({
        name,
        help,
        type,
        aggregator: 'sum',
        values: samples(),
      }),
      reset: () => undefined,
    };
    // Cast: prom-client's type has the methods that count, which the registry does not call.
    registry.registerMetric(metric as unknown as Metric);
  };
  const show = (
    type: 'counter' | 'histogram',
    name: string,
    help: string,
    samplesOf: (origin: string, counted: OriginTally) => Sample[],
  ) =>
    showAll(type, name, help, () =>
      Array.from(tally.origins, ([origin, counted]) => samplesOf(origin, counted)).flat(),
    );
  /** Summed up over the origins. */
  const showSum = (
    name: string,
    help: string,
    countsOf: (counted: OriginTally) => Readonly<Record<string, number>>,
    labelsOf: (key: string) => Readonly<Record<string, string>>,
  ) =>
    showAll('counter', name, help, () => {
      const sums = new Map<string, number>();
      for (const counted of tally.origins.values()) {
        for (const [key, count] of Object.entries(countsOf(counted))) {
          sums.set(key, (sums.get(key) ?? 0) + count);
        }
      }
      return Array.from(sums, ([key, value]) => ({ labels: labelsOf(key), value }));
    });

  show(
    'counter',
    'orilla_gateway_requests_total',
    'Requests by who answered them: origin, vm, or the gateway itself because nobody could.',
    (origin, counted) =>
      eachServer(counted).flatMap(([served_by, { requests }]) =>
        requests.map((value, index) => ({
          labels: { origin, served_by, status_class: `${index + 1}xx` },
          value,
        })),
      ),
  );
  show(
    'counter',
    'orilla_gateway_upstream_bytes_total',
    'Octets over connections to origins and to VMs, both ways, heads included.',
    (origin, { originBytes, vmBytes }) => [
      { labels: { origin, upstream: 'origin' }, value: originBytes },
      { labels: { origin, upstream: 'vm' }, value: vmBytes },
    ],
  );
  show(
    'histogram',
    'orilla_gateway_first_byte_seconds',
    "From a request's head to the first octet of its answer.",
    (origin, counted) =>
      eachServer(counted).flatMap(([served_by, server]) => histogram({ origin, served_by }, server)),
  );
  show(
    'counter',
    'orilla_gateway_replays_total',
    'Requests that a VM failed and the origin answered instead.',
    (origin, { replays }) => [{ labels: { origin }, value: replays }],
  );
  show(
    'counter',
    'orilla_gateway_broken_answers_total',
    'Answers that ended before they were whole, by who gave them.',
    (origin, counted) =>
      eachServer(counted).map(([served_by, { broken }]) => ({
        labels: { origin, served_by },
        value: broken,
      })),
  );
  showSum(
    'orilla_gateway_limited_total',
    'Requests and connections that met a limit.',
    ({ limited }) => limited,
    (limit) => ({ limit }),
  );
  showSum(
    'orilla_gateway_access_log_lost_total',
    'Lines of the access log that the disk did not take.',
    ({ lostLogLines }) => ({ '': lostLogLines }),
    () => ({}),
  );
}

const eachServer = ({ servers }: OriginTally): [ServedBy, ServerTally][] =>
  Object.entries(servers) as [ServedBy, ServerTally][];

/** As Prometheus wants it: each bucket with those below it. */
function histogram(labels: { origin: string; served_by: string }, server: ServerTally): Sample[] {
  const name = 'orilla_gateway_first_byte_seconds';
  let below = 0;
  return [
    ...FIRST_BYTE_BUCKETS_S.map((le, index) => {
      below += server.firstByteBuckets[index] ?? 0;
      return { metricName: `${name}_bucket`, labels: { ...labels, le }, value: below };
    }),
    { metricName: `${name}_bucket`, labels: { ...labels, le: '+Inf' }, value: server.firstByteCount },
    { metricName: `${name}_sum`, labels, value: server.firstByteSumS },
    { metricName: `${name}_count`, labels, value: server.firstByteCount },
  ];
}
