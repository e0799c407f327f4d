import { expect, test } from 'vitest';
import { Registry } from '../../platform/telemetry/index.ts';
import { showTally } from '../metrics.ts';
import type { Exchange } from './data-plane.ts';
import { Tally } from './tally.ts';

const exchange = (rest: Partial<Exchange>): Exchange => ({
  origin: 'photos',
  servedBy: 'origin',
  status: 200,
  originBytes: 0,
  vmBytes: 0,
  wasReplayed: false,
  ...rest,
});

test('what several workers counted adds up, and travels as data', () => {
  const [first, second, sum] = [new Tally(), new Tally(), new Tally()];
  first.count(exchange({ originBytes: 10, firstByteMs: 4 }));
  second.count(exchange({ servedBy: 'vm', vmBytes: 7, firstByteMs: 1, wasReplayed: true }));
  second.count(exchange({ origin: '', status: 429, limit: 'requests_per_second_per_client' }));
  second.countLogLoss(3);
  second.count(exchange({ status: 502, servedBy: 'gateway', failure: 'cannot be reached' }));
  for (const worker of [first, second, second]) {
    sum.add(JSON.parse(JSON.stringify(worker.take())) as ReturnType<Tally['take']>);
  }
  expect(sum.origins.get('')).toMatchObject({
    limited: { requests_per_second_per_client: 1 },
    lostLogLines: 3,
  });
  expect(sum.origins.get('photos')).toMatchObject({
    originBytes: 10,
    vmBytes: 7,
    replays: 1,
    servers: {
      origin: { requests: [0, 1, 0, 0, 0], firstByteCount: 1, firstByteSumS: 0.004 },
      vm: { requests: [0, 1, 0, 0, 0], firstByteCount: 1 },
      gateway: { requests: [0, 0, 0, 0, 1], firstByteCount: 0 },
    },
  });
});

test('is shown as Prometheus reads it: counters by origin and server, and a histogram that adds up', async () => {
  const registry = new Registry();
  const tally = new Tally();
  showTally(registry, tally);
  for (const firstByteMs of [0.5, 1.5, 40_000]) tally.count(exchange({ firstByteMs, originBytes: 5 }));
  tally.count(exchange({ firstByteMs: 3, failure: 'the origin photos ended in the middle of its answer' }));
  const text = await registry.metrics();
  for (const line of [
    '# TYPE orilla_gateway_requests_total counter',
    'orilla_gateway_requests_total{origin="photos",served_by="origin",status_class="2xx"} 4',
    'orilla_gateway_upstream_bytes_total{origin="photos",upstream="origin"} 15',
    '# TYPE orilla_gateway_first_byte_seconds histogram',
    'orilla_gateway_first_byte_seconds_bucket{origin="photos",served_by="origin",le="0.001"} 1',
    'orilla_gateway_first_byte_seconds_bucket{origin="photos",served_by="origin",le="0.002"} 2',
    'orilla_gateway_first_byte_seconds_bucket{origin="photos",served_by="origin",le="30"} 3',
    'orilla_gateway_first_byte_seconds_bucket{origin="photos",served_by="origin",le="+Inf"} 4',
    'orilla_gateway_first_byte_seconds_count{origin="photos",served_by="origin"} 4',
    'orilla_gateway_broken_answers_total{origin="photos",served_by="origin"} 1',
  ]) {
    expect(text.replace(/le="([^"]+)",(.*?)}/g, '$2,le="$1"}')).toContain(line);
  }
});
